"""The provider that runs a nats-server binary."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_rosey.servers.nats import (
    BannerError,
    BinaryServer,
    ServerControlError,
    ServerUnavailable,
    address_of,
    find_binary,
    read_banner,
)
from pytest_rosey.servers.nats.binary import binary_version
from tests.pytest_rosey.servers.process_watch import PATIENCE, is_alive, wait_until

pytestmark = pytest.mark.process

STARTED = """
import sys
from pathlib import Path
from pytest_rosey.servers.nats import BinaryServer

server = BinaryServer(Path(sys.argv[1]))
server.start()
"""
REPORT = "print(server.pid, server._watchdog.group, server._directory, flush=True)\n"


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "nats-server"
    path.write_text(text, "utf-8")
    path.chmod(0o755)
    return path


def directory_of(server: BinaryServer) -> Path:
    directory = server._directory
    assert directory is not None
    return directory


def greets(server: BinaryServer) -> bool:
    try:
        read_banner(address_of(server.url), 0.1)
    except BannerError:
        return False
    return True


# -- its life ------------------------------------------------------------------------------------


def test_start_and_stop(nats_binary):
    server = BinaryServer(nats_binary)
    server.start()
    url, pid, directory = server.url, server.pid, directory_of(server)
    guard = server._watchdog
    assert guard is not None
    address = address_of(url)
    assert address.host == "127.0.0.1"
    assert read_banner(address, 2).version == server.version
    assert server.provider == "binary"

    server.stop()

    assert pid is not None
    assert not is_alive(pid)
    assert not is_alive(guard.group)
    assert not directory.exists()
    with pytest.raises(BannerError, match="Nothing listens"):
        read_banner(address, 2)


def test_start_again_is_no_second_server(server):
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_stop_twice(server):
    server.stop()
    server.stop()


def test_two_servers_do_not_know_each_other(server, nats_binary):
    with BinaryServer(nats_binary) as other:
        assert other.url != server.url
        other.kill()
        assert read_banner(address_of(server.url), 2)


def test_nothing_is_told_before_the_start(nats_binary):
    server = BinaryServer(nats_binary)
    with pytest.raises(ServerControlError) as caught:
        _ = server.url
    assert str(caught.value) == f"nats-server ({nats_binary}) has no URL yet: start() gives it one."
    with pytest.raises(ServerControlError) as caught:
        _ = server.version
    assert str(caught.value) == (
        f"nats-server ({nats_binary}) has told no version yet: start() asks for it."
    )
    with pytest.raises(ServerControlError) as caught:
        server.restart()
    assert str(caught.value) == (
        f"nats-server ({nats_binary}) cannot be restarted: it has not been started."
    )


def test_restart_keeps_the_url(server):
    url, first = server.url, read_banner(address_of(server.url), 2)
    server.restart()
    assert server.url == url
    assert read_banner(address_of(url), 2).server_id != first.server_id


def test_kill_and_restart(server):
    url, pid = server.url, server.pid
    server.kill()
    assert not is_alive(pid)
    with pytest.raises(BannerError, match="Nothing listens"):
        read_banner(address_of(url), 2)
    server.restart()
    assert server.url == url
    assert read_banner(address_of(url), 2)


def test_crash_and_start(server):
    url = server.url
    os.kill(server.pid, signal.SIGKILL)
    # Its main thread may be gone before the threads that hold the port: wait for all of them.
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    server.start()
    assert server.url == url
    assert read_banner(address_of(url), 2)


def test_restart_waits_for_its_port(server):
    """A reconnecting client may be given the very port it dials; it lets go soon."""
    server.kill()
    with socket.create_server(tuple(address_of(server.url))):
        restart = threading.Thread(target=server.restart)
        restart.start()
        wait_until(lambda: "address already in use" in server.log_tail(), "a refused port")
    restart.join(PATIENCE)
    assert read_banner(address_of(server.url), 2)


def test_pause_twice_and_stop_paused(server):
    pid = server.pid
    server.pause()
    server.pause()
    server.stop()
    assert not is_alive(pid)


def test_start_resumes_a_server_that_a_test_left_paused(server):
    server.pause()
    server.start()
    assert read_banner(address_of(server.url), 5)


def test_resume_without_pause(server):
    server.resume()
    assert read_banner(address_of(server.url), 2)


def test_pause_resume_pause(server):
    server.pause()
    server.resume()
    server.pause()
    with pytest.raises(BannerError, match="said nothing for"):
        read_banner(address_of(server.url), 0.1)


@pytest.mark.parametrize(
    ("act", "participle"), [("kill", "killed"), ("pause", "paused"), ("resume", "resumed")]
)
def test_control_of_a_server_that_does_not_run(server, act, participle):
    server.kill()
    with pytest.raises(ServerControlError) as caught:
        getattr(server, act)()
    assert str(caught.value) == (
        f"{server} cannot be {participle}: it does not run. "
        "`start()` starts it, also after `kill()` or a crash."
    )


def test_server_outlives_the_thread_that_started_it(nats_binary):
    server = BinaryServer(nats_binary)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join(PATIENCE)
    try:
        assert read_banner(address_of(server.url), 2)
    finally:
        server.stop()


def test_wrapper_script_is_ended_with_its_child(tmp_path, nats_binary):
    """Version managers put scripts on PATH, and not all of them exec."""
    pid_file = tmp_path / "pid"
    wrapper = script(tmp_path, f'#!/bin/sh\n"{nats_binary}" "$@" &\necho $! > {pid_file}\nwait\n')
    with BinaryServer(wrapper) as server:
        real = int(pid_file.read_text("utf-8"))
        server.pause()
        wait_until(lambda: not greets(server), "the wrapped server's pause")
        server.resume()
        assert read_banner(address_of(server.url), 2)
    wait_until(lambda: not is_alive(real), "the end of the wrapped server")


# -- the log -------------------------------------------------------------------------------------


def test_log_tail(server):
    assert server.log_tail(1).endswith("[INF] Server is ready")
    assert len(server.log_tail(3).splitlines()) == 3
    assert server.log_tail(0) == ""


def test_log_remains_after_stop(server):
    server.stop()
    assert server.log_tail(1).endswith("[INF] Server Exiting..")


# -- configuration -------------------------------------------------------------------------------


def test_config_is_used_and_its_address_is_not(tmp_path, nats_binary):
    config = tmp_path / "small.conf"
    config.write_text('max_payload: 100\nlisten: "0.0.0.0:4222"\nlogfile: "elsewhere.log"\n')
    with BinaryServer(nats_binary, config=config) as server:
        address = address_of(server.url)
        assert address.host == "127.0.0.1"
        assert address.port != 4222
        assert read_banner(address, 2).max_payload == 100
        assert "Server is ready" in server.log_tail()


def test_jetstream_has_a_store_of_its_own(tmp_path, nats_binary):
    config = tmp_path / "js.conf"
    config.write_text("jetstream: enabled\n")
    with BinaryServer(nats_binary, config=config) as server:
        assert f'Store Directory: "{directory_of(server)}/jetstream"' in server.log_tail()


def test_bad_config_is_reported_in_the_servers_words(tmp_path, nats_binary):
    config = tmp_path / "bad.conf"
    config.write_text("max_payload: 100\nfoo_bar: 3\n")
    server = BinaryServer(nats_binary, config=config)
    with pytest.raises(ServerUnavailable) as caught:
        server.start()
    assert str(caught.value) == (
        f"nats-server ({nats_binary}) ended with exit code 1 before it was ready.\n"
        f"Its configuration file: {config}\n"
        "Its last lines:\n"
        f'    nats-server: {config}:2:1: unknown field "foo_bar"'
    )
    assert server.log_tail() == f'nats-server: {config}:2:1: unknown field "foo_bar"'
    assert server._directory is None


# -- wrong binaries ------------------------------------------------------------------------------


def test_binary_that_fails(tmp_path):
    wrong = script(tmp_path, "#!/bin/sh\necho first\necho 'no such flag: '$1 >&2\nexit 3\n")
    with pytest.raises(ServerUnavailable) as caught:
        BinaryServer(wrong).start()
    assert str(caught.value) == (
        f"nats-server ({wrong}) ended with exit code 3 before it was ready.\n"
        "Its last lines:\n"
        "    first\n"
        "    no such flag: -a"
    )


def test_binary_that_is_killed(tmp_path):
    wrong = script(tmp_path, "#!/bin/sh\nkill -SEGV $$\n")
    with pytest.raises(ServerUnavailable) as caught:
        BinaryServer(wrong).start()
    assert str(caught.value) == (
        f"nats-server ({wrong}) was ended by SIGSEGV before it was ready.\nIt wrote nothing."
    )


def test_binary_that_is_never_ready(tmp_path):
    pid_file = tmp_path / "pid"
    wrong = script(tmp_path, f"#!/bin/sh\necho $$ > {pid_file}\necho thinking\nexec sleep 60\n")
    with pytest.raises(ServerUnavailable) as caught:
        BinaryServer(wrong, start_timeout=0.3).start()
    assert str(caught.value) == (
        f"nats-server ({wrong}) was not ready within 0.3 s: it announced no port.\n"
        "Its last lines:\n"
        "    thinking"
    )
    assert not is_alive(int(pid_file.read_text("utf-8")))


def test_binary_of_another_machine(tmp_path):
    wrong = script(tmp_path, "\x7fELF nonsense")
    text = (
        f"{wrong} cannot be run: Exec format error.\n"
        "Is it a nats-server built for this machine, and may you execute it?"
    )
    with pytest.raises(ServerUnavailable) as caught:
        BinaryServer(wrong).start()
    assert str(caught.value) == text
    with pytest.raises(ServerUnavailable) as caught:
        binary_version(wrong)
    assert str(caught.value) == text


def test_version_of_a_binary(nats_binary, server):
    assert binary_version(nats_binary) == server.version


def test_version_of_something_else(tmp_path):
    wrong = script(tmp_path, "#!/bin/sh\necho usage: frobnicate\n")
    with pytest.raises(ServerUnavailable) as caught:
        binary_version(wrong)
    assert str(caught.value) == (
        f"{wrong} is not a nats-server: `{wrong} --version` ended with exit code 0. "
        "Its last lines:\n    usage: frobnicate"
    )


# -- finding it ----------------------------------------------------------------------------------


@pytest.fixture
def bare_python(tmp_path, monkeypatch) -> Path:
    """Pretend that Python lives in an empty directory and that PATH leads to another one."""
    beside, on_path = tmp_path / "python", tmp_path / "path"
    beside.mkdir()
    on_path.mkdir()
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(beside))
    monkeypatch.setenv("PATH", str(on_path))
    return tmp_path


def test_binary_beside_python_comes_first(bare_python):
    script(bare_python / "path", "")
    beside = script(bare_python / "python", "")
    assert find_binary().path == beside


def test_binary_on_path(bare_python):
    on_path = script(bare_python / "path", "")
    assert find_binary().path == on_path


def test_no_binary(bare_python):
    found = find_binary()
    assert found.path is None
    assert found.tried == (
        f"{bare_python}/python/nats-server (not there)",
        f"nats-server on PATH ({bare_python}/path)",
    )


def test_binary_that_may_not_be_executed(bare_python):
    script(bare_python / "python", "").chmod(0o644)
    assert find_binary().tried[0] == f"{bare_python}/python/nats-server (not executable)"


# -- nothing is left -----------------------------------------------------------------------------


def run_python(code: str, nats_binary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(nats_binary)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
def test_nothing_is_left_when_python_is_killed(nats_binary, signum, paused):
    pause = "server.pause()\n" if paused else ""
    with run_python(f"{STARTED}{pause}{REPORT}sys.stdin.read()", nats_binary) as python:
        assert python.stdout is not None
        pid, guard, directory = python.stdout.readline().split()
        assert is_alive(int(pid))

        python.send_signal(signum)

        assert python.wait(PATIENCE) == -signum
        wait_until(lambda: not is_alive(int(pid)), "the server's end")
        wait_until(lambda: not is_alive(int(guard)), "the guard's end")
        assert not Path(directory).exists()


def test_nothing_is_left_when_python_forgets_to_stop(nats_binary):
    with run_python(STARTED + REPORT, nats_binary) as python:
        out, _ = python.communicate(timeout=PATIENCE)
    pid, guard, directory = out.split()
    assert not is_alive(int(pid))
    assert not is_alive(int(guard))
    assert not Path(directory).exists()


def test_exit_of_a_forked_child_leaves_the_server_alone(nats_binary):
    code = f"""{STARTED}
import os
from pytest_rosey.servers.nats import address_of, read_banner
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
print(read_banner(address_of(server.url), 2).version)
"""
    with run_python(code, nats_binary) as python:
        out, _ = python.communicate(timeout=PATIENCE)
    assert out.strip() == binary_version(nats_binary)


def test_ctrl_c_does_not_reach_the_server(nats_binary):
    """The terminal sends SIGINT to the whole foreground group; the server is not in it."""
    code = f"""{STARTED}
import time
try:
    {REPORT}
    while True:  # a signal that comes just before a system call would not end it
        time.sleep(0.01)
except KeyboardInterrupt:
    from pytest_rosey.servers.nats import address_of, read_banner
    print(read_banner(address_of(server.url), 2).version)
"""
    python = subprocess.Popen(
        [sys.executable, "-c", code, str(nats_binary)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with python:
        assert python.stdout is not None
        pid = int(python.stdout.readline().split()[0])
        os.killpg(python.pid, signal.SIGINT)
        assert python.stdout.readline().strip() == binary_version(nats_binary)
        python.wait(PATIENCE)
    assert not is_alive(pid)


def test_failed_start_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with contextlib.suppress(ServerUnavailable):
        BinaryServer(script(tmp_path, "#!/bin/sh\nexit 1\n")).start()
    assert [entry.name for entry in tmp_path.iterdir()] == ["nats-server"]
