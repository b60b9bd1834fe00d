"""What the launcher says to the person at the terminal: Vietnamese first, English beneath."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from archive.demo.accounts import FILE as DEMO_ACCOUNTS
from config.settings import Settings


class Spoken(Exception):
    """An error to be said in both languages."""

    def __init__(self, vietnamese: str, english: str, details: str = "") -> None:
        super().__init__(english)
        self.vietnamese = vietnamese
        self.english = english
        self.details = details


def say(text: str, end: str = "\n", stream: TextIO | None = None) -> None:
    """Print, and go on when nobody reads any more: a closed terminal must not keep the services from being stopped."""
    with suppress(OSError):
        print(text, end=end, file=stream or sys.stdout, flush=True)


def step(vietnamese: str, english: str) -> None:
    """What is going on now."""
    say(f"» {vietnamese} / {english}")


def warn(vietnamese: str, english: str) -> None:
    say(f"! {vietnamese}\n  {english}")


def progress(done: int, total: int) -> None:
    """How far the demo is; one line that counts on a terminal, a line every quarter elsewhere."""
    if sys.stdout.isatty():
        say(f"\r  {done}/{total}", end="\n" if done == total else "")
    elif done == total or done * 4 // total > (done - 1) * 4 // total:
        say(f"  {done}/{total}")


def past_begins() -> None:
    """That the demo grows while it can be used."""
    step(
        "Đang nạp thêm ca mẫu của 12 tháng qua ở chế độ nền, mất khoảng một đến vài phút; cứ dùng bình thường",
        "Loading samples of the last twelve months in the background, for a minute or some; go on as you like",
    )


def mistakes(sentences: str) -> None:
    """Settings that cannot be used."""
    say(
        "Cấu hình sai, hệ thống chưa chạy. / The settings are wrong; nothing was started.\n"
        + "".join(f"  {line}\n" for line in sentences.splitlines())
        + "Giải thích từng mục / Every setting is explained in: docs/pacs.example.toml",
        stream=sys.stderr,
    )


def failure(error: Spoken) -> None:
    """Why it ends."""
    lines = [f"✗ {error.vietnamese}", f"  {error.english}", *(f"    {line}" for line in error.details.splitlines())]
    say("\n".join(lines), stream=sys.stderr)


def reachable(host: str) -> str:
    """An address that this machine can call where a service listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104  only compared


def ready(settings: Settings, *, demo: bool, viewer: bool, key: Path | None = None) -> None:
    """The addresses, how to send, where the data is and the key to it, how to stop."""
    node, web = settings.node, settings.web
    address, title = reachable(node.host), node.ae_title
    places = [str(node.port)] * node.plain + [f"{node.tls.port} (TLS)"] * node.tls.listens
    port = ", ".join(places)
    way = (f"storescu -aec {title}", node.port) if node.plain else (f"storescu +tla -ic -aec {title}", node.tls.port)
    send = f"{way[0]} {address} {way[1]}"
    url = web.public_url or f"http://{reachable(web.host)}:{web.port}/"
    data, logs = settings.data_dir.resolve(), logs_dir(settings).resolve()
    notes = _notes(settings, demo=demo, viewer=viewer, key=key)
    place = "" if key is None else key.resolve()
    say(
        f"""
======================================================================
 Kho lưu trữ hình ảnh y tế đã sẵn sàng
   Danh sách ca chụp  : {url}
   Nhận ảnh DICOM     : {address} cổng {port}, AE title {title}
   Gửi thử một tệp    : {send} anh.dcm
   Dữ liệu            : {data}
{f"   Khóa mã hóa ảnh    : {place}{chr(10)}" if place else ""}\
   Nhật ký            : {logs}
   Dừng               : Ctrl-C
{"".join(f"   Lưu ý: {vietnamese}{chr(10)}" for vietnamese, _ in notes)}
 The imaging archive is ready
   Study list         : {url}
   DICOM node         : {address} port {port}, AE title {title}
   Send a file        : {send} file.dcm
   Data               : {data}
{f"   Encryption key     : {place}{chr(10)}" if place else ""}\
   Logs               : {logs}
   Stop               : Ctrl-C
{"".join(f"   Note: {english}{chr(10)}" for _, english in notes)}\
======================================================================"""
    )


def accounts(made: Sequence[tuple[str, str]], file: Path) -> None:
    """Names and passwords to try it with."""
    width = max(len(name) for name, _ in made)
    lines = "".join(f"   {name:<{width}}  {password}\n" for name, password in made)
    say(
        f"""
 Tài khoản dùng thử (chỉ hiện một lần; cũng có trong {file})
 Accounts to try it with (shown once; also in {file})
{lines}"""
    )


def _notes(settings: Settings, *, demo: bool, viewer: bool, key: Path | None) -> list[tuple[str, str]]:
    notes = []
    if key is not None:
        notes.append(
            (
                "hãy sao chép tệp khóa mã hóa sang nơi khác và cất giữ riêng: mất khóa là mất toàn bộ ảnh",
                "copy the encryption key to another place, apart from the data: without it all images are lost",
            )
        )
    if demo:
        notes.append(
            (
                "chế độ dùng thử: nhận ảnh từ mọi AE title trên máy này; bệnh nhân mẫu đều không có thật",
                "demo mode: senders with any AE title on this machine are accepted; all sample patients are invented",
            )
        )
    if not viewer:
        notes.append(
            (
                "chưa cài được trình xem ảnh; vẫn nhận, lưu và tra cứu bình thường",
                "the viewer is not installed; receiving, storing and searching work",
            )
        )
    if settings.access.sign_in == "off":
        notes.append(
            (
                "không cần đăng nhập: ai mở được địa chỉ trên đều xem được mọi ca chụp",
                "sign-in is off: whoever reaches the address sees every study",
            )
        )
    elif demo:
        notes.append(
            (
                f"tên và mật khẩu đăng nhập có trong {settings.data_dir.resolve() / DEMO_ACCOUNTS}",
                f"names and passwords to sign in with are in {settings.data_dir.resolve() / DEMO_ACCOUNTS}",
            )
        )
    else:
        first = "python -m archive accounts add NAME --display-name NAME --role province_admin@*"
        notes.append((f"tạo người quản trị đầu tiên: {first}", f"make the first administrator: {first}"))
    return notes


def logs_dir(settings: Settings) -> Path:
    return settings.data_dir / "logs"
