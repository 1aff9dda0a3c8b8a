"""One function for each way to misbehave. Each gets the socket's path and says what became of it.

They run in a process of their own (`start`), so that they take nothing but the machine from whoever measures.
"""

import json
import os
import select
import signal
import socket
import struct
import time

import wire

HELLO = wire.frame(wire.HELLO, b'{"min":1,"max":1,"client":"hostile/1"}', id=1)


def start(offender, *arguments):
    """A child that runs offender(*arguments): (pid, pipe of its JSON answer)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            answer = offender(*arguments)
            os.write(write, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(write)
    return pid, read


def finish(pid, pipe):
    data = b""
    while part := os.read(pipe, 65536):
        data += part
    os.close(pipe)
    os.waitpid(pid, 0)
    return json.loads(data) if data else None


def bare(path):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.connect(str(path))  # blocking: with a time limit a full queue would be EAGAIN
    one.settimeout(20)
    return one


def seconds_until_out(one, limit=60.0):
    """Until the daemon closes the connection, nothing being read; None if it does not."""
    began = time.monotonic()
    poll = select.poll()
    poll.register(one, 0)  # POLLHUP and POLLERR come anyway
    while time.monotonic() - began < limit:
        if poll.poll(50):
            return time.monotonic() - began
    return None


def last_error(one):
    """The code of the ERROR before the end, or None."""
    data = b""
    try:
        while part := one.recv(65536):
            data += part
    except (ConnectionError, TimeoutError):
        pass
    code = None
    while len(data) >= 16:
        type, length = data[5], struct.unpack("<I", data[8:12])[0]
        if type == wire.ERROR:
            code = json.loads(data[16:16 + length])["code"]
        data = data[16 + length:]
    return code


def repeat(path, seconds, once):
    """once(path) again and again: how often, and which codes answered."""
    end, n, codes = time.monotonic() + seconds, 0, {}
    while time.monotonic() < end:
        code = once(path)
        codes[code] = codes.get(code, 0) + 1
        n += 1
    return {"times": n, "codes": {str(code): count for code, count in codes.items()}}


# -- those that a limit of time ends --------------------------------------------------------------------------------


def never_reads(path, seconds):
    one = bare(path)
    one.sendall(HELLO)
    one.settimeout(0.2)
    try:
        for i in range(2, 10000):
            one.sendall(wire.frame(wire.LIST, b'{"what":"samples","count":10000}', id=i))
    except (TimeoutError, ConnectionError):
        pass
    return {"out_after": seconds_until_out(one)}


def never_returns(path, seconds):
    client = wire.Client(path)
    client.subscribe(batch_size=64, fields=["x_t"], slots=2)
    return {"out_after": seconds_until_out(client.socket)}


def stops_itself(path, seconds):
    """Another process holds slots and sleeps; the daemon's end of it is what counts, seen by a poll of ours."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        client = wire.Client(path)
        client.subscribe(batch_size=64, fields=["x_t"], slots=2)
        os.write(write, b".")
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.read(read, 1)
    began = time.monotonic()
    try:
        with wire.Client(path) as watcher:
            while any(session["pid"] == pid for session in watcher.call(wire.STATUS, {})["sessions"]):
                if time.monotonic() - began > 60:
                    return {"out_after": None}
                time.sleep(0.05)
        return {"out_after": time.monotonic() - began}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def dribbles(path, seconds):
    """HELLO, one byte at a time."""
    one = bare(path)
    began = time.monotonic()
    for i in range(len(HELLO)):
        try:
            one.send(HELLO[i:i + 1])
        except ConnectionError:
            break
        if select.select([one], [], [], 0.1)[0]:
            break
    return {"out_after": time.monotonic() - began, "code": last_error(one)}


def half_open(path, n):
    """n connections without a HELLO, at most 150 at a time; how many were refused at once, and all are out at the end."""
    began, refused, late, slowest = time.monotonic(), 0, 0, 0.0
    open_ones = []

    def reap(all_of_them):
        nonlocal refused, late, slowest
        while open_ones and (all_of_them or len(open_ones) >= 150):
            one, since = open_ones.pop(0)
            code = last_error(one)
            one.close()
            refused += code == "quota"
            late += code == "ETIMEDOUT"
            slowest = max(slowest, time.monotonic() - since if code == "ETIMEDOUT" else 0)

    for _ in range(n):
        open_ones.append((bare(path), time.monotonic()))
        reap(False)
    reap(True)
    return {"refused": refused, "timed_out": late, "slowest_s": slowest, "seconds": time.monotonic() - began}


# -- those that are out at once ---------------------------------------------------------------------------------------


def garbage(path, seconds):
    def once(path):
        one = bare(path)
        try:
            one.sendall(HELLO + os.urandom(4096))
        except ConnectionError:
            pass
        return last_error(one)
    return repeat(path, seconds, once)


def oversized(path, seconds):
    def once(path):
        one = bare(path)
        one.sendall(wire.frame(wire.HELLO, length=0xffffffff))
        return last_error(one)
    return repeat(path, seconds, once)


def old_version(path, seconds):
    frames = [wire.frame(wire.HELLO, b'{"min":1,"max":1}', version=0), wire.frame(wire.HELLO, b'{"min":2,"max":3}')]

    def once(path):
        one = bare(path)
        one.sendall(frames[0])
        frames.reverse()
        return last_error(one)
    return repeat(path, seconds, once)


def spins(path, seconds):
    """Talks to nobody: what a core that is lost costs by itself."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return {}


def sends_fds(path, seconds):
    """12,000 descriptors in messages of 250, again and again: refused to us where the kernel can, else closed unseen."""
    client = wire.Client(path)
    null = os.open("/dev/null", os.O_RDONLY)
    end, sent, refused = time.monotonic() + seconds, 0, 0
    while sent + refused == 0 or (sent + refused) % 12000 != 0 or time.monotonic() < end:
        id = client.new_id()
        try:
            socket.send_fds(client.socket, [wire.frame(wire.PING, id=id)], [null] * 250)
            sent += 250
        except PermissionError:
            refused += 250
            client.socket.sendall(wire.frame(wire.PING, id=id))
        client.answer(id)
    return {"sent": sent, "refused_by_kernel": refused}
