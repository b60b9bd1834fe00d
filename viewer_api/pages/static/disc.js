// Scrolls through the pictures of a series: wheel, slider, arrow keys, finger. Runs from a disc, without a server.
for (const stack of document.querySelectorAll(".stack")) {
  const pictures = JSON.parse(stack.dataset.pictures);
  const image = stack.querySelector("img");
  const slider = stack.querySelector("input");
  const told = stack.querySelector("output");
  slider.max = pictures.length;
  let shown = 0;
  const show = (number) => {
    shown = Math.min(Math.max(number, 0), pictures.length - 1);
    image.src = pictures[shown];
    slider.value = shown + 1;
    told.textContent = `${shown + 1} / ${pictures.length}`;
    for (const near of [shown + 1, shown - 1]) if (pictures[near]) new Image().src = pictures[near];
  };
  slider.addEventListener("input", () => show(slider.value - 1));
  image.parentElement.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      show(shown + Math.sign(event.deltaY));
    },
    { passive: false },
  );
  let from = null;
  image.parentElement.addEventListener("touchstart", (event) => (from = event.touches[0].clientY), { passive: true });
  image.parentElement.addEventListener(
    "touchmove",
    (event) => {
      const moved = event.touches[0].clientY - from;
      if (Math.abs(moved) < 12) return;
      event.preventDefault();
      from = event.touches[0].clientY;
      show(shown + Math.sign(moved));
    },
    { passive: false },
  );
  show(Math.floor(pictures.length / 2));
}
