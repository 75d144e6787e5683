"""
Pgpool-II with its query cache in shared memory, as a way to the server: the rival of the result cache.
"""

import os
import pwd
import shutil
import subprocess

import harness
import proxies

# No fail-over, no balancing, no checks: one server, and answers from memory where it has them. It expires nothing by time.
PGPOOL_CONF = """\
backend_clustering_mode = 'raw'
listen_addresses = '127.0.0.1'
port = {port}
socket_dir = '{dir}'
pcp_socket_dir = '{dir}'
pcp_port = {pcp_port}
wd_ipc_socket_dir = '{dir}'
pid_file_name = '{dir}/pgpool.pid'
logdir = '{dir}'
backend_hostname0 = '{host}'
backend_port0 = {server_port}
backend_weight0 = 1
backend_flag0 = 'DISALLOW_TO_FAILOVER'
enable_pool_hba = off
num_init_children = {children}
max_pool = 1
child_life_time = 0
client_idle_limit = 0
connection_life_time = 0
load_balance_mode = off
sr_check_period = 0
health_check_period = 0
log_min_messages = error
memory_cache_enabled = on
memqcache_method = 'shmem'
memqcache_total_size = 256MB
memqcache_auto_cache_invalidation = on
memqcache_oiddir = '{dir}/oids'
"""


def program():
    return shutil.which("pgpool", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))


class Pgpool(proxies.Way):
    def __init__(self, pg, clients):
        self.dir = harness.temp_dir()
        port, pcp_port = harness.free_port(), harness.free_port()
        os.mkdir(os.path.join(self.dir, "oids"))
        self._write(
            "pgpool.conf",
            PGPOOL_CONF.format(
                port=port, pcp_port=pcp_port, dir=self.dir, host=pg.host, server_port=pg.port, children=clients + 10
            ),
        )
        self._write("pcp.conf", "")
        super().__init__("pgpool", port, self._start())
        harness.on_exit(self.stop)

    def _write(self, name, text):
        with open(os.path.join(self.dir, name), "w") as f:
            f.write(text)

    def _start(self):
        account = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (self.dir, os.path.join(self.dir, "oids")):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self.log = os.path.join(self.dir, "log")
        with open(self.log, "ab") as log:
            command = [program(), "-n", "-f", os.path.join(self.dir, "pgpool.conf"), "-F", os.path.join(self.dir, "pcp.conf")]
            return harness.spawn(command, stdout=log, stderr=log, cwd=self.dir, env=harness.clean_environment(), **account)

    def stop(self):
        harness.end(self.process)

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


def version():
    shown = subprocess.run([program(), "--version"], capture_output=True, text=True)
    return (shown.stdout + shown.stderr).split("\n")[0]
