# Sourced by `run`, `test` and `scripts/image`: finds or makes what Cellmate needs, and does nothing where all is there.
# POSIX sh. It speaks on stderr. `root`, set by whoever sources it, is the repository; `kept` holds the logs.
# shellcheck shell=sh disable=SC2154

kept=$root/.setup
python=${PYTHON:-python3}

say() { printf 'cellmate: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

# Root on Debian or Ubuntu may install packages; nobody else is surprised by it.
may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# For whoever shows how far set-up is: a line on descriptor 3, of what it is about, its state and words, a tab between.
report() { [ -z "${stage:-}" ] || printf '%s\t%s\t%s\n' "$stage" "$1" "$2" >&3; }

# step WHAT COMMAND...: run it with its output in a log, say what it is and how long it takes, show the log's end if it fails.
step() {
    what=$1
    shift
    mkdir -p "$kept"
    log=$kept/$(printf '%s' "$what" | tr -cs 'A-Za-z0-9\n' -).log
    began=$(date +%s)
    say "$what ..."
    report running "$what"
    (while sleep 10 >/dev/null 2>&1 3>&- && kill -0 $$ 2>/dev/null; do say "$what: $(($(date +%s) - began)) s"; done) &
    ticker=$!
    status=0
    "$@" >"$log" 2>&1 </dev/null 3>&- || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$status" != 0 ]; then
        tail -n 40 "$log" >&2
        say "$what failed. The whole log: $log"
        return "$status"
    fi
    say "$what: done in $(($(date +%s) - began)) s"
}

# Which packages hold Docker's client and builder differs by release: those that are known are taken. One at a time: the engine and
# the demo model are set up side by side, and apt does not wait for itself.
apt_install() (
    exec 9>"$kept/apt.lock"
    flock 9
    apt-get update -q || return
    known=$(apt-cache pkgnames) || return
    wanted=
    for package in "$@"; do
        case $package in
        docker-cli | docker-buildx) printf '%s\n' "$known" | grep -qx "$package" || continue ;;
        esac
        wanted="$wanted $package"
    done
    # Docker and pip bring ca-certificates, which writes the bundle anew: authorities that were put there by hand have to be handed over.
    if [ -s /etc/ssl/certs/ca-certificates.crt ] && ! dpkg -s ca-certificates >/dev/null 2>&1; then
        mkdir -p /usr/local/share/ca-certificates
        cp /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates/found-by-cellmate.crt || return
    fi
    # Not handed down, or a service that is started by it would keep the lock; and not the last command, or this shell would
    # become apt-get and let go of it at once.
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $wanted 9>&- || return
)

docker_packages='docker.io docker-cli docker-buildx iptables ca-certificates'

# ---- the engine

find_engine() {
    found=$("$python" "$root/scripts/engine.py" find 2>"$kept/engine") || return
    export DOCKER_HOST="${found% *}"
    engine=${found#* }
}

# The package's own start-up script may have been faster; then there is only to wait.
engine_runs() { kill -0 "$(cat /var/run/docker.pid 2>/dev/null)" 2>/dev/null; }

start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker || return
    elif ! engine_runs; then
        # gVisor is known to an engine of ours where it is there; see docs/security.md.
        set --
        if command -v runsc >/dev/null && [ ! -e /etc/docker/daemon.json ]; then
            printf '{"runtimes": {"runsc": {"path": "%s", "runtimeArgs": ["--network=none"]}}}\n' "$(command -v runsc)" >"$kept/daemon.json"
            set -- --config-file "$kept/daemon.json"
        fi
        setsid dockerd "$@" >/var/log/dockerd.log 2>&1 </dev/null &
        dockerd=$!
    fi
    tries=0
    until find_engine; do
        tries=$((tries + 1))
        sleep 0.5
        if [ $tries -gt 120 ] || ! { engine_runs || kill -0 "${dockerd:-$$}" 2>/dev/null; }; then
            tail -n 20 /var/log/dockerd.log
            return 1
        fi
    done
}

# Root inside an ordinary container may not: dockerd needs CAP_SYS_ADMIN (bit 21).
may_start_engine() {
    [ "$(id -u)" = 0 ] && [ $((0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) >> 21 & 1)) = 1 ]
}

how_to_get_an_engine() {
    say "no Docker engine answers. Tried:"
    cat "$kept/engine" >&2
    if [ -n "${DOCKER_HOST:-}" ]; then
        die "that is the one DOCKER_HOST names. Start it, or type: unset DOCKER_HOST; $0"
    elif [ "$(id -u)" = 0 ] && [ "$(uname)" = Linux ]; then
        die "root may not start one here: this is a container. Give it the engine outside: docker run -v /var/run/docker.sock:/var/run/docker.sock"
    elif grep -q 'Permission denied' "$kept/engine"; then
        set -- "sudo usermod -aG docker $(id -un)" "newgrp docker"
    elif command -v apt-get >/dev/null; then
        set -- "sudo apt-get update" "sudo apt-get install docker.io iptables $venv_package" \
            "sudo usermod -aG docker $(id -un)" "newgrp docker"
    elif [ "$(uname)" = Darwin ]; then
        set -- "brew install colima docker docker-buildx" "colima start"
    else
        set -- "sudo dnf install podman" "systemctl --user enable --now podman.socket"
    fi
    say "Type:"
    printf '    %s\n' "$@" "$0" >&2
    say "or name an engine: DOCKER_HOST=unix:///path/docker.sock $0"
    exit 1
}

# Before any download: an engine that answers, or one that may be installed or started here, or the lines that bring one.
reach_engine() {
    mkdir -p "$kept"
    command -v "$python" >/dev/null || die "there is no $python. Install Python 3.11 or newer."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$("$python" -V) is too old; 3.11 or newer is needed. Name one: PYTHON=python3.12 $0"
    "$python" -c 'import ensurepip' 2>/dev/null && venv_package= || venv_package=python3-venv
    find_engine && return
    if [ -n "${DOCKER_HOST:-}" ] || ! may_start_engine; then how_to_get_an_engine; fi
    command -v dockerd >/dev/null || may_install ||
        die "no Docker engine here. Install your distribution's docker or podman, start it, then type $0 again."
    engine=
}

ensure_engine() {
    reach_engine
    [ -z "$engine" ] || return 0
    if ! command -v dockerd >/dev/null; then
        # shellcheck disable=SC2086
        step "No Docker engine here: installing Debian's docker.io" apt_install $docker_packages $venv_package
    fi
    step "Starting the Docker engine" start_engine || exit 1
}

# ---- the virtual environment

# pip_setting NAME: what pip would use to install, its environment before its files (in which order they are listed differs by
# version); lists are separated by blanks.
pip_setting() {
    listed=$(for interpreter in "$root/.venv/bin/python" "$python"; do
        "$interpreter" -m pip config list 2>/dev/null || continue
        break
    done)
    for scope in :env: install global; do
        value=$(printf '%s\n' "$listed" | sed -n "s/^$scope\.$1='\(.*\)'\$/\1/p" | head -n 1 | sed 's/\\n/ /g')
        [ -z "$value" ] || break
    done
    [ -z "$value" ] || printf '%s\n' "$value"
}

# uv reads none of pip's settings; whoever has set pip up for a mirror or a CA has set up Cellmate too.
settings_for_uv() {
    index=$(pip_setting index-url)
    extra=$(pip_setting extra-index-url)
    trusted=$(pip_setting trusted-host)
    proxy=$(pip_setting proxy)
    authority=$(certificates)
    export ${index:+UV_DEFAULT_INDEX="$index"} ${extra:+UV_INDEX="$extra"} ${trusted:+UV_INSECURE_HOST="$trusted"} \
        ${proxy:+ALL_PROXY="$proxy"} ${authority:+SSL_CERT_FILE="$authority"} \
        UV_INDEX_STRATEGY=unsafe-best-match UV_NO_PROGRESS=1 UV_LINK_MODE=copy
}

# The bundle of authorities this machine trusts, by the names tools know.
certificates() {
    for bundle in "$(pip_setting cert)" "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" "${CURL_CA_BUNDLE:-}" /etc/ssl/certs/ca-certificates.crt; do
        [ -f "$bundle" ] && printf '%s\n' "$bundle" && return
    done
    return 0
}

make_venv() {
    [ -x "$root/.venv/bin/python" ] && "$root/.venv/bin/python" -m pip --version && return
    "$python" -m venv --clear "$root/.venv" && "$root/.venv/bin/python" -m pip --version
}

# In a subshell: neither the folder nor the settings are for what comes after.
fill_venv() (
    make_venv && cd "$root" && settings_for_uv || exit
    .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements-build.lock &&
        .venv/bin/uv pip install --python .venv/bin/python --require-hashes -r "$1" &&
        .venv/bin/uv pip install --python .venv/bin/python --no-deps --no-build-isolation --editable .
)

# ensure_venv LOCK: .venv holds exactly the versions the lock names (the development lock names those of the other as well).
ensure_venv() {
    stamp=$root/.venv/.cellmate-$1
    current=$(cd "$root" && "$python" scripts/engine.py hash "$1" requirements-build.lock pyproject.toml)
    [ -x "$root/.venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$current" ] && return
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        may_install || die "$python cannot make virtual environments. Type: sudo apt-get install python3-venv"
        step "Installing python3-venv" apt_install python3-venv || exit 1
    fi
    step "Filling .venv from $1" fill_venv "$1" || exit 1
    printf '%s\n' "$current" >"$stamp"
}

# What serves the demo model: installed where that model is wanted, and not before.
fill_local() (
    cd "$root" && settings_for_uv || exit
    .venv/bin/uv pip install --python .venv/bin/python --require-hashes -r requirements-local.lock
)

# Its threads are OpenMP's, whose library comes with a compiler: a bare system has none.
ensure_openmp() {
    "$root/.venv/bin/python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null && return
    may_install || die "the demo model needs a library of the system's. Type: sudo apt-get install libgomp1 (elsewhere: libgomp)"
    step "Installing libgomp1" apt_install libgomp1
}

# What bench/ compares with and must not share libraries with: llm-sandbox brings a Docker client.
fill_rivals() (
    cd "$root" && settings_for_uv || exit
    .venv/bin/uv venv --allow-existing --python .venv/bin/python .setup/rivals &&
        .venv/bin/uv pip sync --python .setup/rivals/bin/python --require-hashes bench/requirements-rivals.lock
)

# ---- images

# The first client that can build with secrets; one without buildx is often first on PATH.
find_client() {
    # Podman's builder is Podman: the service and the command of one user share their images.
    client=podman
    if [ "$engine" = podman ]; then
        command -v podman >/dev/null
        return
    fi
    export DOCKER_BUILDKIT=1
    old_ifs=$IFS
    IFS=:
    for folder in /usr/bin $PATH; do
        client=$folder/docker
        [ -x "$client" ] && "$client" build --help 2>/dev/null | grep -q -- '--secret' && break
        client=
    done
    IFS=$old_ifs
    [ -n "$client" ]
}

ensure_client() {
    find_client && return
    if may_install && [ "$engine" = docker ]; then
        # shellcheck disable=SC2086
        step "No Docker client that can build: installing Debian's" apt_install $docker_packages && find_client && return
    fi
    die "an engine answers at $DOCKER_HOST, but no client here can build images. Type: sudo apt-get install docker-cli docker-buildx (docker.io before Debian 13)"
}

import_base() {
    mmdebstrap --variant=minbase --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        trixie "$1/base.tar" && "$client" import "$1/base.tar" cellmate-base:trixie
}

# The base is pulled; where that cannot be, it is made of the same packages.
ensure_base() {
    for base in debian:trixie-slim cellmate-base:trixie; do
        "$client" image inspect "$base" >/dev/null 2>&1 && return
    done
    base=debian:trixie-slim
    step "Pulling $base" "$python" "$root/scripts/engine.py" pull "$base" && return
    base=cellmate-base:trixie
    if ! command -v mmdebstrap >/dev/null; then
        may_install || die "the image's base cannot be pulled. To make it of Debian's packages type: sudo apt-get install mmdebstrap"
        step "Installing mmdebstrap" apt_install mmdebstrap debian-archive-keyring || exit 1
    fi
    step "Making the base of Debian's packages instead" import_base "$1" || exit 1
}

# What the builder needs of this machine and no layer may keep. $1 is a private folder.
write_secrets() {
    authority=$(certificates)
    cat ${authority:+"$authority"} /dev/null >"$1/ca"
    {
        echo '[global]'
        [ -z "$authority" ] || echo 'cert = /run/secrets/ca'
        for name in index-url extra-index-url trusted-host proxy timeout default-timeout; do
            # An index on this machine's disk cannot be seen from the builder.
            value=$(pip_setting $name | tr ' ' '\n' | grep -v -e '^file:' -e '^$' | tr '\n' ' ') || true
            [ -z "$value" ] || echo "$name = $value"
        done
    } >"$1/pip"
    {
        [ -z "$authority" ] || echo 'Acquire::https::CAInfo "/run/secrets/ca";'
        apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::Proxy|Check-(Valid-Until|Date))' || true
    } >"$1/apt"
}

# Proxies are arguments the builder knows and keeps out of the image's history (docs.docker.com, "Predefined ARGs").
build_image() {
    set -- "$@" --network=host --build-arg "BASE=$base"
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        if printenv "$name" >/dev/null; then set -- "$@" --build-arg "$name"; fi
    done
    "$client" build "$@" "$root"
}

image_inputs() {
    case $1 in
    sandbox) echo Dockerfile requirements-sandbox.lock sandbox/matplotlib.sed sandbox/runner ;;
    standard) image_inputs sandbox && echo requirements-sandbox-standard.lock ;;
    peers) image_inputs sandbox && echo bench/requirements-peers.lock ;;
    bot) echo Dockerfile README.md requirements.lock requirements-build.lock pyproject.toml bot adapters sandbox ;;
    esac
}

image_target() {
    case $1 in
    standard) echo --target sandbox --build-arg EDITION=standard ;;
    *) echo --target "$1" ;;
    esac
}

# ensure_image NAME: `cellmate-NAME:latest` is built from what lies here: the targets of Dockerfile, and `standard`, the larger
# sandbox. The tag beside it is a hash of what it was built from.
ensure_image() {
    # shellcheck disable=SC2046
    version=$(cd "$root" && "$python" scripts/engine.py hash $(image_inputs "$1"))
    image=cellmate-$1
    "$python" "$root/scripts/engine.py" tag "$image:$version" "$image:latest" && return
    ensure_client
    secrets=$(mktemp -d)
    trap 'rm -rf "$secrets"' EXIT
    trap 'exit 130' HUP INT TERM
    ensure_base "$secrets"
    write_secrets "$secrets"
    # shellcheck disable=SC2046
    step "Building the $1 image" build_image $(image_target "$1") --tag "$image:$version" --tag "$image:latest" \
        --secret "id=ca,src=$secrets/ca" --secret "id=pip,src=$secrets/pip" --secret "id=apt,src=$secrets/apt" || exit 1
    rm -rf "$secrets"
    trap - EXIT HUP INT TERM
    # The versions before this one; what still runs from them keeps them.
    "$client" image ls --format '{{.Repository}}:{{.Tag}}' "$image" | grep -E ':[0-9a-f]{16}$' | grep -v ":$version\$" |
        while read -r old; do "$client" image rm "$old" >/dev/null 2>&1 || true; done
}

# The image that CELLMATE_IMAGE names, where it is one of ours.
ensure_sandbox() {
    case ${CELLMATE_IMAGE:-cellmate-sandbox:latest} in
    cellmate-sandbox:latest) ensure_image sandbox ;;
    cellmate-standard:latest) ensure_image standard ;;
    esac
}
