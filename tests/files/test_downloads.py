import errno
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from reference.servers import CONTENT, HALF, MD5, SHA256, SIZE, Server, serving

from fewshot_bn.errors import DataError, ModelError
from fewshot_bn.files import downloads
from fewshot_bn.files.atomic import check_free
from fewshot_bn.files.cards import read_card
from fewshot_bn.files.downloads import Download, download


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Server) as server:
        yield server


@pytest.fixture
def what(server):
    def build(path, **facts):
        url = f"http://127.0.0.1:{server.server_port}/{path}"
        return Download(url, "a.bin", **({"sha256": SHA256, "n_bytes": SIZE} | facts))

    return build


def run(what, folder):
    return list(download(what, folder))


def part_of(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.bin.part").write_bytes(content)


def ranges(server):
    return [asked for _, asked, _ in server.asked]


def assert_whole(folder):
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert not (folder / "a.bin.part").exists()


@pytest.mark.parametrize("facts", [{}, {"n_bytes": 0}, {"sha256": "", "md5": MD5}])
@pytest.mark.parametrize("path", ["ranges", "no_ranges", "moved"])
def test_a_file_is_fetched_and_how_far_is_told(tmp_path, server, what, path, facts):
    told = run(what(path, **facts), tmp_path / "new" / "folder")
    assert_whole(tmp_path / "new" / "folder")
    assert told[0] == (0, SIZE)
    assert told[-1] == (SIZE, SIZE)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert server.asked[0][2] == "fewshot_bn"


def test_a_length_that_nobody_states_is_told_as_0(tmp_path, what):
    assert run(what("no_length", n_bytes=0), tmp_path)[-1] == (SIZE, 0)
    assert_whole(tmp_path)


def test_a_file_that_is_there_is_not_fetched_again(tmp_path, server, what):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert run(what("ranges"), tmp_path) == [(SIZE, SIZE)]
    assert server.asked == []


def test_another_file_of_that_name_is_an_error_and_stays(tmp_path, server, what):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match=rf"a\.bin: its sha256 is [0-9a-f]{{64}}, {SHA256} is needed; move it away"):
        run(what("ranges"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize("facts", [{}, {"n_bytes": 0}, {"sha256": "", "md5": MD5}])
@pytest.mark.parametrize("path", ["ranges", "unknown_total", "moved"])
def test_a_part_is_gone_on_with(tmp_path, server, what, path, facts):
    part_of(tmp_path, CONTENT[:HALF])
    told = run(what(path, **facts), tmp_path)
    assert_whole(tmp_path)
    assert told[0][0] == HALF
    assert set(ranges(server)) == {f"bytes={HALF}-"}


def test_a_server_without_ranges_sends_the_file_anew(tmp_path, server, what):
    part_of(tmp_path, CONTENT[:HALF])
    assert run(what("no_ranges"), tmp_path)[0] == (0, SIZE)
    assert_whole(tmp_path)


def test_an_answer_that_starts_elsewhere_is_not_appended(tmp_path, server, what):
    part_of(tmp_path, CONTENT[:HALF])
    run(what("shifted"), tmp_path)
    assert_whole(tmp_path)
    assert ranges(server) == [f"bytes={HALF}-", None]


def test_a_part_that_is_whole_gets_its_name(tmp_path, server, what):
    part_of(tmp_path, CONTENT)
    run(what("ranges"), tmp_path)
    assert_whole(tmp_path)
    assert ranges(server) == [f"bytes={SIZE}-"]


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"more"])
def test_a_part_of_the_right_length_or_more_that_is_wrong_is_fetched_anew(tmp_path, server, what, content):
    part_of(tmp_path, content)
    run(what("ranges"), tmp_path)
    assert_whole(tmp_path)
    assert ranges(server) == [f"bytes={len(content)}-", None]


def test_a_part_of_another_file_is_noticed_and_removed(tmp_path, what):
    part_of(tmp_path, b"x" * HALF)
    with pytest.raises(DataError, match="the same command begins anew"):
        run(what("ranges"), tmp_path)
    assert not (tmp_path / "a.bin.part").exists()
    run(what("ranges"), tmp_path)
    assert_whole(tmp_path)


@pytest.mark.parametrize(("algorithm", "needed"), [("md5", MD5), ("sha256", SHA256)])
def test_another_content_is_an_error_and_leaves_nothing(tmp_path, what, algorithm, needed):
    found = hashlib.new(algorithm, CONTENT[::-1]).hexdigest()
    facts = {"sha256": "", algorithm: needed}
    with pytest.raises(
        DataError, match=rf"http://.*/other: its {algorithm} is {found}, {needed} is needed; .* at /.*a\.bin$"
    ):
        run(what("other", **facts), tmp_path)
    assert not list(tmp_path.glob("a.bin*"))


def test_another_size_is_an_error_before_anything_is_fetched(tmp_path, what):
    part_of(tmp_path, CONTENT[:HALF])
    with pytest.raises(DataError, match=r"has 1,024,004 bytes, 1,024,000 are needed; what is there has changed: find"):
        run(what("longer"), tmp_path)
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:HALF]


@pytest.mark.parametrize("path", ["cut_short", "cut_short_no_length", "cut_short_chunked"])
def test_a_connection_that_ends_early_leaves_the_part(tmp_path, what, path):
    with pytest.raises(DataError, match=r"\d+ of 1,024,000 bytes arrived \(.+\); the same command goes on from there$"):
        run(what(path), tmp_path)
    n_bytes = (tmp_path / "a.bin.part").stat().st_size
    assert 0 < n_bytes <= HALF
    assert run(what("ranges"), tmp_path)[0] == (n_bytes, SIZE)
    assert_whole(tmp_path)


def test_a_connection_that_ends_early_again_and_again(tmp_path, what):
    for n_bytes in ("500,000", "1,023,000"):
        with pytest.raises(DataError, match=rf"{n_bytes} of 1,024,000 bytes arrived \(the connection was closed\)"):
            run(what("cut_short"), tmp_path)
    run(what("ranges"), tmp_path)
    assert_whole(tmp_path)


def test_without_any_length_the_checksum_decides(tmp_path, what):
    with pytest.raises(DataError, match=rf"{SHA256} is needed"):
        run(what("cut_short_no_length", n_bytes=0), tmp_path)
    with pytest.raises(DataError, match=r"[0-9] bytes arrived \(IncompleteRead"):
        run(what("cut_short_chunked", n_bytes=0), tmp_path)


def test_a_connection_that_is_stuck_is_given_up(tmp_path, what, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.1)
    with pytest.raises(DataError, match=r"of 1,024,000 bytes arrived \(timed out\)"):
        run(what("stuck"), tmp_path)
    assert CONTENT.startswith((tmp_path / "a.bin.part").read_bytes())
    with pytest.raises(DataError, match=r"/slow: cannot be fetched: timed out; try again"):
        run(what("slow"), tmp_path)


@pytest.mark.parametrize(
    ("path", "match"),
    [
        (
            "missing",
            r"/missing: the server answers 404 Not Found; try again, or fetch it by hand and put it at /.*/a\.bin$",
        ),
        ("forbidden", "the server answers 403 Forbidden; try again"),
        ("empty", "the server answers 204 No Content; try again"),
        ("no_part_asked_for", "the server answers 206 Partial Content; try again"),
        ("nonsense", "cannot be fetched: hello; try again"),
        ("silent", "cannot be fetched: Remote end closed connection without response; try again"),
        ("to_ftp", "cannot be fetched: it redirects to ftp://127.0.0.1/file, which is not http"),
        ("to_file", "the server answers 302 Found - Redirection to url 'file:///etc/hostname' is not allowed; try"),
        ("round", r"the server answers 302 The HTTP server returned a redirect error .* infinite loop\. The last"),
    ],
)
@pytest.mark.parametrize("has_part", [False, True])
def test_what_a_server_does_wrong_is_one_line_and_leaves_the_part(tmp_path, what, path, match, has_part):
    if has_part:
        part_of(tmp_path, CONTENT[:HALF])
    with pytest.raises(DataError, match=match) as caught:
        run(what(path), tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {".a.bin.lock"} | ({"a.bin.part"} if has_part else set())
    assert not has_part or (tmp_path / "a.bin.part").read_bytes() == CONTENT[:HALF]


def test_ftp_is_refused_behind_a_proxy_too(tmp_path, server, what, monkeypatch):
    monkeypatch.setenv("ftp_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy")
    with pytest.raises(DataError, match="which is not http"):
        run(what("to_ftp"), tmp_path)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://127.0.0.1:1/x", "cannot be fetched: .*refused.*; try again, or fetch it by hand and put it at"),
        ("http://127.0.0.1:port/x", "cannot be fetched: nonnumeric port: 'port'"),
        ("http://[/x", "cannot be fetched: Invalid IPv6 URL"),
        ("http:///x", "cannot be fetched: no host given"),
    ],
)
def test_no_server(tmp_path, monkeypatch, url, match):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=match):
        run(Download(url, "a", sha256=SHA256), tmp_path)


def elsewhere(what, folder):
    """The command by which another process downloads and prints how far it is."""
    return [sys.executable, "-c", ELSEWHERE, what.url, what.file, what.sha256, str(folder)]


ELSEWHERE = """
import signal, sys
from pathlib import Path
from fewshot_bn.files.downloads import Download, download
signal.signal(signal.SIGINT, signal.default_int_handler)
url, file, sha256, folder = sys.argv[1:]
for step in download(Download(url, file, sha256=sha256), Path(folder)):
    print(step, flush=True)
"""


def test_a_file_that_two_processes_need_is_fetched_once(tmp_path, server, what, caplog):
    slow = what("slow")
    with subprocess.Popen(elsewhere(slow, tmp_path), stdout=subprocess.DEVNULL) as other:
        while not server.asked:
            assert other.poll() is None
            time.sleep(0.01)
        with ThreadPoolExecutor() as pool:
            told = list(pool.map(lambda _: run(slow, tmp_path), range(2)))
        assert other.wait() == 0
    assert_whole(tmp_path)
    assert len(server.asked) == 1
    assert told == [[(SIZE, SIZE)], [(SIZE, SIZE)]]
    assert f"another run is fetching {tmp_path / slow.file}; waiting for it" in caplog.messages


def test_ctrl_c_leaves_the_part_and_the_lock_is_free(tmp_path, what):
    command = elsewhere(what("stuck"), tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        assert [other.stdout.readline() for _ in range(2)][1] == f"({2**18}, {SIZE})\n"
        other.send_signal(signal.SIGINT)
        assert other.communicate()[1].splitlines()[-1] == "KeyboardInterrupt"
    assert run(what("ranges"), tmp_path)[0] == (2**18, SIZE)
    assert_whole(tmp_path)


def test_a_download_that_is_given_up_leaves_the_part(tmp_path, what):
    steps = download(what("ranges"), tmp_path)
    next(steps), next(steps)
    steps.close()
    assert run(what("ranges"), tmp_path)[0] == (2**18, SIZE)


@dataclass
class Known:
    """A file of which at most the first digits of a checksum are published."""

    url: str
    checksum: str = ""
    algorithm: str = "sha256"
    file: str = "a.bin"
    n_bytes: int = 0


@pytest.fixture
def known(server):
    return lambda path, checksum="", algorithm="sha256": Known(
        f"http://127.0.0.1:{server.server_port}/{path}", checksum, algorithm
    )


@pytest.mark.parametrize(("checksum", "algorithm"), [(SHA256[:8], "sha256"), (MD5[:9], "md5"), (SHA256, "sha256")])
def test_first_digits_of_a_checksum_are_compared(tmp_path, server, known, checksum, algorithm):
    part_of(tmp_path, CONTENT[:HALF])
    run(known("ranges", checksum, algorithm), tmp_path)
    assert_whole(tmp_path)
    assert ranges(server) == [f"bytes={HALF}-"]
    run(known("ranges", checksum, algorithm), tmp_path)
    other = "0" * 8
    with pytest.raises(DataError, match=rf"its {algorithm} is [0-9a-f]+, {other} is needed; move it away"):
        run(known("ranges", other, algorithm), tmp_path)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DataError, match=rf"its {algorithm} is [0-9a-f]+, {other} is needed; the same command begins"):
        run(known("ranges", other, algorithm), tmp_path)
    assert not (tmp_path / "a.bin").exists()


def test_without_a_checksum_a_file_is_fetched_from_its_first_byte(tmp_path, server, known):
    part_of(tmp_path, CONTENT[1 : HALF + 1])
    run(known("ranges"), tmp_path)
    assert_whole(tmp_path)
    assert ranges(server) == [None]
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DataError, match=r"500,000 of 1,024,000 bytes arrived \(.*\); the same command begins anew"):
        run(known("cut_short"), tmp_path)


@pytest.mark.parametrize("url", ["http://host.invalid/a.bin", "http://localhost.invalid/"])
def test_without_a_checksum_nothing_comes_over_plain_http(tmp_path, url):
    with pytest.raises(DataError, match=rf"{url} is not https, and no checksum is known.*; try again, or fetch"):
        run(Known(url), tmp_path)
    assert not (tmp_path / "a.bin").exists()


def test_without_a_checksum_nothing_is_redirected_to_plain_http(tmp_path, known, monkeypatch):
    monkeypatch.setattr(
        Server, "answer_away", lambda self: self.send(302, Location="http://host.invalid/"), raising=False
    )
    with pytest.raises(DataError, match=r"127\.0\.0\.1.*cannot be fetched: http://host\.invalid/ is not https"):
        run(known("away"), tmp_path)


@pytest.mark.parametrize("checksum", ["", SHA256])
@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n <html lang='en'><body>Sign in"])
def test_a_web_page_instead_of_the_file_is_told(tmp_path, known, monkeypatch, page, checksum):
    monkeypatch.setattr(Server, "answer_page", lambda self: self.send(200, page), raising=False)
    with pytest.raises(DataError, match=r"sends a web page instead of the file; try again, or fetch it by hand"):
        run(known("page", checksum), tmp_path)
    assert not (tmp_path / "a.bin").exists()
    run(known("ranges", checksum), tmp_path)
    assert_whole(tmp_path)


class FullDisk(io.FileIO):
    def write(self, block):
        if self.tell() + len(block) > 600_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(block)


def test_a_disk_that_fills_up_leaves_the_part(tmp_path, what, monkeypatch):
    path_open = Path.open
    full = {"ab": FullDisk, "wb": FullDisk}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: full.get(mode, path_open)(path, mode))
        with pytest.raises(
            DataError, match=r"a\.bin cannot be .* here: No space left on device; mend that and run the"
        ):
            run(what("ranges"), tmp_path)
    assert run(what("ranges"), tmp_path)[0] == (2 * 2**18, SIZE)
    assert_whole(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path, what):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/sub: a\.bin cannot be read or written here: Not a directory; mend that"):
        run(what("ranges"), tmp_path / "file" / "sub")


def test_a_small_disk_is_noticed_before_the_download(tmp_path, what, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=SIZE - HALF))
    part_of(tmp_path, CONTENT[: HALF - 1])
    with pytest.raises(DataError, match="0.00 GB are free there, 0.00 GB are needed; make room"):
        run(what("ranges"), tmp_path)
    part_of(tmp_path, CONTENT[:HALF])
    run(what("ranges"), tmp_path)


def test_free_space(tmp_path):
    check_free(tmp_path / "not" / "there", 1)
    missing = re.escape(str(tmp_path / "not"))
    with pytest.raises(DataError, match=rf"{missing}: \d+\.\d\d GB are free there, 1000000000\.00 GB are needed; make"):
        check_free(tmp_path / "not", 10**18)
    with pytest.raises(DataError, match="cannot be looked at: File name too long; choose another folder"):
        check_free(tmp_path / ("x" * 5000), 1)


def test_facts_come_from_a_card(tmp_path):
    (tmp_path / "card.toml").write_text(
        f'url = "https://a.org/b.tgz?x=1"\nfile = "b.tgz"\nmd5 = "{MD5}"\nunpack = "b/c"'
    )
    card = read_card(tmp_path / "card.toml", Download, DataError)
    assert card == Download("https://a.org/b.tgz?x=1", "b.tgz", md5=MD5, unpack="b/c")
    assert (card.algorithm, card.checksum) == ("md5", MD5)


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        ({"sha256": ""}, "'a': md5 is '' and sha256 ''; one of them is needed, as 32 or 64 digits 0-9a-f"),
        ({"md5": MD5}, "one of them is needed"),
        ({"sha256": SHA256.upper()}, "one of them is needed"),
        ({"sha256": SHA256[1:]}, "one of them is needed"),
        ({"sha256": MD5}, "one of them is needed"),
        ({"sha256": SHA256 + "\n"}, "one of them is needed"),
        ({"sha256": "", "md5": SHA256}, "one of them is needed"),
        ({"url": "ftp://a.org/b"}, "its url is 'ftp://a.org/b'; one of http:// or https:// without spaces is needed"),
        ({"url": "file:///etc/passwd"}, "http:// or https://"),
        ({"url": "https://a.org/b c"}, "http:// or https://"),
        ({"url": "https://a.org/b\n"}, "http:// or https://"),
        ({"url": "https://"}, "http:// or https://"),
        ({"url": "https://a.org/ä"}, "http:// or https://"),
        ({"file": ""}, "'': a plain file name is needed, without slashes and without a dot in front"),
        ({"file": ".."}, "a plain file name"),
        ({"file": ".hidden"}, "a plain file name"),
        ({"file": "a/b"}, "a plain file name"),
        ({"file": "/a"}, "a plain file name"),
        ({"file": "a\\b"}, "a plain file name"),
        ({"file": "c:a"}, "a plain file name"),
        ({"file": "a\0"}, "a plain file name"),
        ({"file": "a\n"}, "a plain file name"),
        ({"unpack": "/a"}, "unpack is '/a'; a folder under the data root is needed"),
        ({"unpack": "a/../.."}, "a folder under the data root"),
        ({"unpack": "a\\b"}, "a folder under the data root"),
        ({"unpack": "c:"}, "a folder under the data root"),
        ({"folder": "a/../.."}, "folder is 'a/../..'; a folder under the data root is needed"),
    ],
)
def test_facts_that_cannot_be_right(facts, match):
    with pytest.raises(DataError, match=re.escape(match)) as caught:
        Download(**({"url": "https://a.org/b", "file": "a", "sha256": SHA256} | facts))
    assert str(caught.value).startswith("the download '")
    assert len(str(caught.value).splitlines()) == 1


def test_a_card_with_a_wrong_fact_says_so(tmp_path):
    (tmp_path / "card.toml").write_text('url = "https://a.org/b"\nfile = "b"\nsha256 = "1"')
    with pytest.raises(ModelError, match="the download 'b': md5 is '' and sha256 '1'; one of them is needed"):
        read_card(tmp_path / "card.toml", Download, ModelError)


def test_a_server_that_does_not_stop_is_left_at_the_size_of_the_card(tmp_path, server, what):
    with pytest.raises(DataError, match=f"sends more than the {SIZE:,} bytes that are needed"):
        run(what("endless"), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= SIZE
