"""A script that passes sockets to a program as a service manager does between fork and exec (sd_listen_fds(3))."""

ACTIVATOR = """
import fcntl, os, sys
held = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in os.environ["HANDED"].split()]
for number, descriptor in enumerate(held):
    os.dup2(descriptor, 3 + number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, sys.argv[1:])
"""
