# Two targets: `sandbox`, in which people's code runs, and `bot`, which answers them. Built by scripts/setup.sh (`./run` does it).
# EDITION says how much the sandbox holds: `slim`, or `standard` with office, geography, sound and more.
#
# No `# syntax=` line: it would pull a front end, and the builder inside Docker 20.10 knows secrets already.
# What belongs to the building machine (proxy, CA, package index) comes as the build secrets `ca`, `pip` and `apt`: no layer keeps it.
ARG BASE=debian:trixie-slim
ARG EDITION=slim

FROM ${BASE} AS python
RUN --mount=type=secret,id=ca --mount=type=secret,id=apt \
    export APT_CONFIG=/run/secrets/apt DEBIAN_FRONTEND=noninteractive \
    && apt-get update -q \
    && apt-get install -yq --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*
ENV LANG=C.UTF-8 PATH=/opt/venv/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

FROM python AS pip
RUN --mount=type=secret,id=ca --mount=type=secret,id=apt \
    export APT_CONFIG=/run/secrets/apt DEBIAN_FRONTEND=noninteractive \
    && apt-get update -q \
    && apt-get install -yq --no-install-recommends python3-pip \
    && python3 -m venv --without-pip /opt/venv

# The libraries people's code may import.
FROM pip AS libraries-slim
COPY requirements-sandbox.lock sandbox/matplotlib.sed /tmp/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    PIP_CONFIG_FILE=/run/secrets/pip /usr/bin/python3 -m pip --python /opt/venv/bin/python install \
        --no-cache-dir --no-compile --no-deps --require-hashes -r /tmp/requirements-sandbox.lock \
    && sed -i -f /tmp/matplotlib.sed /opt/venv/lib/python3*/site-packages/matplotlib/font_manager.py \
    && grep -q NotoSansCJK /opt/venv/lib/python3*/site-packages/matplotlib/font_manager.py

FROM libraries-slim AS libraries-standard
COPY requirements-sandbox-standard.lock /tmp/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    PIP_CONFIG_FILE=/run/secrets/pip /usr/bin/python3 -m pip --python /opt/venv/bin/python install \
        --no-cache-dir --no-compile --no-deps --require-hashes -r /tmp/requirements-sandbox-standard.lock

# Byte code is checked against nothing: the file system is read-only where it runs. (olefile2 is for Python 2.)
FROM libraries-${EDITION} AS libraries
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/tests/|/olefile2' /opt/venv

FROM python AS programs-slim
# ffmpeg asks for a display's drivers, which nothing here can use: they are a third of its weight, and are left out. Of the
# fonts those are taken that sandbox/matplotlib.sed names. myhostname knows `localhost`: without a network there is no /etc/hosts.
RUN --mount=type=secret,id=ca --mount=type=secret,id=apt \
    export APT_CONFIG=/run/secrets/apt DEBIAN_FRONTEND=noninteractive \
    && apt-get update -q \
    && apt-get install -yq --no-install-recommends \
        -o Dpkg::Options::='--path-exclude=/usr/lib/*/libLLVM*' \
        -o Dpkg::Options::='--path-exclude=/usr/lib/*/libgallium*' \
        -o Dpkg::Options::='--path-exclude=/usr/lib/*/libz3*' \
        -o Dpkg::Options::='--path-exclude=/usr/share/fonts/*/NotoSerifCJK*' \
        -o Dpkg::Options::='--path-exclude=/usr/share/fonts/truetype/noto/*' \
        -o Dpkg::Options::='--path-include=/usr/share/fonts/truetype/noto/NotoSansArabic-*' \
        -o Dpkg::Options::='--path-include=/usr/share/fonts/truetype/noto/NotoSansBengali-*' \
        -o Dpkg::Options::='--path-include=/usr/share/fonts/truetype/noto/NotoSansDevanagari-*' \
        -o Dpkg::Options::='--path-include=/usr/share/fonts/truetype/noto/NotoSansHebrew-*' \
        -o Dpkg::Options::='--path-include=/usr/share/fonts/truetype/noto/NotoSansThai-*' \
        ffmpeg fonts-dejavu-core fonts-noto-cjk fonts-noto-core fonts-symbola libnss-myhostname \
    && find / -xdev -perm /6000 -exec chmod a-s {} + \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /usr/lib/python3.13 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/fontconfig/* /var/log/*

# What the libraries of `standard` call: a browser without a window for plotly's pictures, readers of scans and barcodes.
FROM programs-slim AS programs-standard
RUN --mount=type=secret,id=ca --mount=type=secret,id=apt \
    export APT_CONFIG=/run/secrets/apt DEBIAN_FRONTEND=noninteractive \
    && apt-get update -q \
    && apt-get install -yq --no-install-recommends \
        -o Dpkg::Options::='--path-exclude=/usr/lib/*/libLLVM*' \
        -o Dpkg::Options::='--path-exclude=/usr/lib/*/libgallium*' \
        -o Dpkg::Options::='--path-exclude=/usr/lib/*/libz3*' \
        7zip chromium-headless-shell ghostscript graphviz jq libharfbuzz-subset0 libpangoft2-1.0-0 libzbar0 pandoc poppler-utils \
        tesseract-ocr tesseract-ocr-chi-sim tesseract-ocr-deu tesseract-ocr-fra unzip \
    && ln -s chromium-headless-shell /usr/bin/chromium \
    && find / -xdev -perm /6000 -exec chmod a-s {} + \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/fontconfig/* /var/log/*

FROM programs-${EDITION} AS sandbox
WORKDIR /workspace
COPY --from=libraries /opt/venv /opt/venv
ENV HOME=/workspace \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLBACKEND=Agg \
    MPLCONFIGDIR=/tmp/.matplotlib \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1
# Matplotlib wants its directory writable, and this file system is read-only where it runs: the runner copies this one
# (the list of fonts, which takes half a second to draw up) to MPLCONFIGDIR before its first import.
RUN MPLCONFIGDIR=/opt/cellmate/matplotlib python3 -c 'import matplotlib.font_manager'
# What pip is to leave as it is where it may install beside it.
RUN python3 -m pip list --format=freeze --disable-pip-version-check > /opt/cellmate/constraints.txt
COPY sandbox/runner /opt/cellmate/runner
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/cellmate/runner
ENTRYPOINT ["python3", "-I", "/opt/cellmate/runner"]

# Our own packages, built where the builder's tools may stay behind.
FROM pip AS house
COPY requirements.lock requirements-build.lock /tmp/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    export PIP_CONFIG_FILE=/run/secrets/pip PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_REQUIRE_HASHES=1 PIP_NO_DEPS=1 \
    && /usr/bin/python3 -m venv --without-pip /opt/build \
    && /usr/bin/python3 -m pip --python /opt/build/bin/python install -r /tmp/requirements-build.lock \
    && /usr/bin/python3 -m pip --python /opt/venv/bin/python install -r /tmp/requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY adapters /src/adapters
COPY bot /src/bot
COPY sandbox /src/sandbox
RUN /usr/bin/python3 -m pip --python /opt/build/bin/python wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp /src \
    && /usr/bin/python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --no-index /tmp/cellmate-*.whl \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv

FROM python AS bot
RUN --mount=type=secret,id=ca --mount=type=secret,id=apt \
    export APT_CONFIG=/run/secrets/apt DEBIAN_FRONTEND=noninteractive \
    && apt-get update -q \
    && apt-get install -yq --no-install-recommends ca-certificates \
    && useradd --uid 10001 --home-dir /var/lib/cellmate --no-create-home --shell /usr/sbin/nologin cellmate \
    && install -d -m 0700 -o cellmate -g cellmate /var/lib/cellmate \
    && find / -xdev -perm /6000 -exec chmod a-s {} + \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*
COPY --from=house /opt/venv /opt/venv
ENV CELLMATE_HOME=/var/lib/cellmate PYTHONUNBUFFERED=1
USER cellmate
WORKDIR /var/lib/cellmate
VOLUME /var/lib/cellmate
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["cellmate", "health"]
ENTRYPOINT ["cellmate"]
CMD ["up"]

# What bench/ compares the sandbox with: the same libraries and an ipykernel; llm-sandbox looks for its Python under /sandbox.
FROM libraries AS peer-libraries
COPY bench/requirements-peers.lock /tmp/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    PIP_CONFIG_FILE=/run/secrets/pip /usr/bin/python3 -m pip --python /opt/venv/bin/python install \
        --no-cache-dir --no-deps --require-hashes -r /tmp/requirements-peers.lock

FROM sandbox AS peers
COPY --from=peer-libraries /opt/venv /opt/venv
RUN mkdir /sandbox && ln -s /opt/venv /sandbox/.sandbox-venv
