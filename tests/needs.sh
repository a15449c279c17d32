#!/bin/sh
# Installs what the tests need beyond Rust, where it is missing: PostgreSQL, MariaDB, OpenSSH's server, Python with venv,
# Node with npm, strace.
# The Python and Node libraries themselves are installed by the tests, below the target folder.
set -eu

has_postgres() {
    for place in /usr/lib/postgresql/*/bin /usr/local/bin /usr/bin; do
        [ -x "$place/postgres" ] && [ -x "$place/initdb" ] && return 0
    done
    return 1
}

missing=
has_postgres || missing="$missing postgresql"
command -v curl >/dev/null || missing="$missing curl"
{ [ -x /usr/sbin/mariadbd ] && command -v mariadb-install-db; } >/dev/null || missing="$missing mariadb-server"
{ [ -x /usr/sbin/sshd ] && [ -x /usr/lib/openssh/sftp-server ]; } || missing="$missing openssh-server openssh-sftp-server"
command -v ssh >/dev/null || missing="$missing openssh-client"
command -v setpriv >/dev/null || missing="$missing util-linux"
command -v strace >/dev/null || missing="$missing strace"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3 python3-venv"
{ command -v node && command -v npm; } >/dev/null || missing="$missing nodejs npm"
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
    echo "the tests need these packages, which cannot be installed from here:$missing" >&2
    exit 1
fi

# Debian would start a server of its own; the tests start theirs, on a socket nobody else sees.
if ! has_postgres && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $as_root mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
$as_root apt-get update -q
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
