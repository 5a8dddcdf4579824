# A server of the live page, on a CPU: https://docs.docker.com/reference/dockerfile
#
#   docker build -t leap-fairseq .
#   docker run -p 127.0.0.1:8642:8642 leap-fairseq                                    the model that comes with the code
#   docker run -p 127.0.0.1:8642:8642 -v "$PWD/my_translator:/model:ro" leap-fairseq --model /model
#
# What follows the image's name are options of `leap-fairseq serve`.

# 3.11 or 3.12.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
# The build of torch for CPUs: PyPI's has CUDA in it, several GB.
ARG TORCH=torch==2.13.0+cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# For the compiled attention, and for bitarray, which simuleval asks for.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE ./
COPY leap_fairseq leap_fairseq
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# torch in the same command as all else: alone, a later requirement could make pip replace it. Without its library
# attention would be slower, and nothing would say so.
RUN python -m venv /opt/leap \
    && /opt/leap/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" "$TORCH" \
        "$(echo /wheels/leap_fairseq-*.whl)[serve]" \
    && /opt/leap/bin/python -c 'from leap_fairseq.attention import compiled_library; assert compiled_library.native_library()'

FROM python:${PYTHON}-slim-bookworm
RUN useradd --uid 1000 --create-home leap
COPY --from=build /opt/leap /opt/leap
ENV PATH=/opt/leap/bin:$PATH
USER 1000
WORKDIR /home/leap
EXPOSE 8642
HEALTHCHECK --start-period=60s --timeout=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8642/status', timeout=5)"]
# All addresses of the container. Browsers may ask for it by an address, as localhost, and by the name that other
# containers have for it; further names: --allow-host NAME.
ENTRYPOINT ["leap-fairseq", "serve", "--host", "0.0.0.0", "--port", "8642", "--allow-host", "leap-fairseq"]
