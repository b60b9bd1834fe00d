// Draws charts of the tables of the dashboard, keeps the live numbers up to date, and turns the wall's pages.
"use strict";
(() => {
  const main = document.querySelector(".dashboard");
  const wall = main.classList.contains("wall");
  const charts = [];
  const printing = window.matchMedia("print");
  const css = name => getComputedStyle(document.body).getPropertyValue(name).trim();

  const number = cell => cell && cell.dataset.v !== undefined ? Number(cell.dataset.v) : null;
  const read = figure => {
    const rows = [...figure.querySelectorAll("tbody tr")].filter(row => row.querySelector("th"));
    return {
      columns: [...figure.querySelectorAll("thead th")].slice(1).map(cell => cell.textContent),
      labels: rows.map(row => row.querySelector("th").dataset.short || row.querySelector("th").textContent.trim()),
      links: rows.map(row => row.querySelector("th a")?.getAttribute("href") || ""),
      values: rows.map(row => [...row.querySelectorAll("td")].map(number)),
      texts: rows.map(row => [...row.querySelectorAll("td")].map(cell => cell.textContent)),
    };
  };
  const short = value => {
    const point = main.dataset.point;
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= size) return (value / size).toFixed(value / size < 10 ? 1 : 0).replace(".", point).replace(new RegExp(`[${point}]0$`), "") + unit;
    }
    return String(Math.round(value * 100) / 100).replace(".", point);
  };
  const look = () => ({
    text: css("--text"), quiet: css("--quiet"), line: css("--line"), raised: css("--raised"),
    colours: ["#2f9fc4", "#e0a042", "#8f7ee6"], size: Math.round(parseFloat(getComputedStyle(main).fontSize) * (wall ? 0.82 : 0.9)),
  });
  const base = style => ({
    animation: false,
    color: style.colours,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, fontSize: style.size, color: style.text },
    // Text on the canvas: our policy takes no styles from scripts that write HTML.
    tooltip: { renderMode: "richText", confine: true, backgroundColor: style.raised, borderColor: style.line, textStyle: { color: style.text, fontSize: style.size } },
    grid: { left: style.size, right: style.size * 2.4, top: style.size * 2.6, bottom: 6, containLabel: true },
  });
  const axis = (style, more) => ({ axisLabel: { color: style.quiet, fontSize: style.size * 0.92, ...more }, axisLine: { lineStyle: { color: style.line } }, axisTick: { show: false }, splitLine: { lineStyle: { color: style.line } } });
  const legend = (style, names) => ({ data: names, top: 0, left: 0, itemWidth: style.size * 1.2, itemHeight: style.size * 0.7, textStyle: { color: style.quiet, fontSize: style.size } });

  const drawings = {
    bars(figure, data, style) {
      const drawn = Number(figure.dataset.drawn), most = wall ? 10 : figure.classList.contains("of-facilities") ? 24 : 12;
      const shown = data.labels.slice(0, most).map((_, at) => at).reverse();
      const names = data.columns.slice(0, drawn);
      return {
        ...base(style),
        grid: { left: style.size, right: style.size * 4.5, top: drawn > 1 ? style.size * 2.6 : 4, bottom: 4, containLabel: true },
        legend: drawn > 1 ? legend(style, names) : undefined,
        xAxis: { type: "value", ...axis(style), axisLabel: { show: false }, splitLine: { show: false } },
        yAxis: { type: "category", data: shown.map(at => data.labels[at]), ...axis(style, { width: style.size * 13, overflow: "truncate", color: style.text }) },
        series: names.map((name, column) => ({
          name, type: "bar", barMaxWidth: style.size * 1.5,
          data: shown.map(at => ({ value: data.values[at][column], at, shown: data.texts[at][column] })),
          label: { show: true, position: "right", color: style.text, fontSize: style.size * 0.92, formatter: item => item.data.shown },
        })),
      };
    },
    lines(figure, data, style) {
      const names = data.columns.slice(0, Number(figure.dataset.drawn));
      const few = data.labels.length < 3;
      return {
        ...base(style),
        tooltip: { ...base(style).tooltip, trigger: "axis", formatter: items => [items[0].name, ...items.filter(item => item.data.value !== null).map(item => `${item.seriesName}: ${item.data.shown}`)].join("\n") },
        legend: legend(style, names),
        xAxis: { type: "category", data: data.labels, boundaryGap: few, ...axis(style, { hideOverlap: true }) },
        yAxis: { type: "value", ...axis(style, { formatter: value => short(value) + figure.dataset.unit }), min: 0 },
        series: names.map((name, column) => ({
          name, type: few ? "bar" : "line", barMaxWidth: 60, showSymbol: data.labels.length < 40, symbolSize: 5, lineStyle: { width: wall ? 3 : 2 },
          areaStyle: column === 0 && names.length < 3 ? { opacity: 0.12 } : undefined,
          data: data.values.map((row, at) => ({ value: row[column] ?? null, at, shown: data.texts[at][column] })),
        })),
      };
    },
    heat(figure, data, style) {
      const cells = data.values.flatMap((row, day) => row.map((value, hour) => [hour, data.labels.length - 1 - day, value || 0]));
      return {
        ...base(style),
        grid: { left: 8, right: 8, top: 6, bottom: style.size * 3.2, containLabel: true },
        tooltip: { ...base(style).tooltip, formatter: item => `${data.labels[data.labels.length - 1 - item.value[1]]} ${data.columns[item.value[0]]}h: ${data.texts[data.labels.length - 1 - item.value[1]][item.value[0]]}` },
        xAxis: { type: "category", data: data.columns, ...axis(style), splitLine: { show: false } },
        yAxis: { type: "category", data: [...data.labels].reverse(), ...axis(style), splitLine: { show: false } },
        visualMap: { min: 0, max: Math.max(1, ...cells.map(cell => cell[2])), calculable: false, orient: "horizontal", left: "center", bottom: 0, itemWidth: style.size, itemHeight: style.size * 12, textStyle: { color: style.quiet, fontSize: style.size * 0.9 }, formatter: short, inRange: { color: ["#12344a", "#1b698f", "#2f9fc4", "#8fd3a8", "#f2d16b", "#e8803a"] } },
        series: [{ type: "heatmap", data: cells, itemStyle: { borderColor: style.raised, borderWidth: 1 } }],
      };
    },
  };

  // Places need no canvas: links with one of five colours by their order, which the table has.
  const map = (figure, data, place) => {
    place.className = "places";
    data.labels.forEach((label, at) => {
      const link = document.createElement("a");
      if (data.links[at]) link.href = data.links[at];
      link.className = `level-${4 - Math.floor(at / data.labels.length * 5)}`;
      const name = document.createElement("span"), count = document.createElement("strong");
      name.textContent = label;
      count.textContent = data.texts[at][0];
      link.append(name, count);
      place.append(link);
    });
  };

  const toggle = (figure) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "toggle";
    button.textContent = main.dataset.table;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const table = figure.classList.toggle("as-table");
      figure.querySelector(".table").classList.toggle("shown", table);
      button.textContent = table ? main.dataset.chart : main.dataset.table;
      button.setAttribute("aria-pressed", String(table));
      charts.forEach(each => each.chart.resize());
    });
    figure.querySelector("figcaption").append(button);
  };

  const draw = () => {
    const style = look();
    charts.forEach(each => each.chart.setOption(drawings[each.figure.dataset.kind](each.figure, each.data, style), true));
  };
  for (const figure of document.querySelectorAll(".panel[data-kind]")) {
    const kind = figure.dataset.kind, data = read(figure);
    if (!data.labels.length || (kind !== "map" && !window.echarts)) continue;
    const place = document.createElement("div");
    place.className = "chart";
    place.setAttribute("aria-hidden", "true");
    figure.querySelector("figcaption").after(place);
    figure.classList.add("drawn");
    if (kind === "map") map(figure, data, place);
    else {
      const chart = window.echarts.init(place, null, { renderer: "canvas" });
      charts.push({ figure, data, chart });
      chart.on("click", item => {
        const at = item.data && item.data.at;
        if (at !== undefined && data.links[at]) window.location.assign(data.links[at]);
      });
    }
    toggle(figure);
  }
  if (charts.length) {
    draw();
    new ResizeObserver(() => charts.forEach(each => each.chart.resize())).observe(main);
    window.matchMedia("(prefers-color-scheme: light)").addEventListener("change", draw);
    const forPaper = () => { charts.forEach(each => each.chart.resize()); draw(); };
    printing.addEventListener("change", forPaper);
    window.addEventListener("beforeprint", forPaper);
    window.addEventListener("afterprint", forPaper);
  }
  const print = main.querySelector("button.print");
  print.hidden = false;
  print.addEventListener("click", () => window.print());

  // Live numbers.
  const clock = main.querySelector(".clock");
  const events = new EventSource(main.dataset.live);
  events.addEventListener("message", event => {
    const told = JSON.parse(event.data);
    for (const tile of told.tiles) {
      const place = main.querySelector(`.live [data-tile="${tile.name}"]`);
      if (!place) continue;
      const value = place.querySelector(".value");
      place.classList.toggle("fresh", value.textContent !== tile.text);
      value.textContent = tile.text;
      place.querySelector("small").textContent = tile.note;
    }
    clock.textContent = told.at;
  });
  window.addEventListener("pagehide", () => events.close());

  // A wall turns its pages, and is made anew now and then, for what is not live.
  const seconds = Number(main.dataset.turn || 20);
  if (wall) {
    const panels = [...document.querySelectorAll(".panel")], at_once = 6;
    let first = 0;
    const show = () => {
      panels.forEach((panel, at) => panel.classList.toggle("away", at < first || at >= first + at_once));
      charts.forEach(each => each.chart.resize());
      first = first + at_once >= panels.length ? 0 : first + at_once;
    };
    show();
    window.setInterval(show, seconds * 1000);
    window.setTimeout(() => window.location.reload(), 5 * 60 * 1000);
  }
})();
