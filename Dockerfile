# docker build -t xanesum . ; docker run --rm -v "$PWD:/data" xanesum run scan.h5 -o results
FROM python:3.13-slim
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt "/source[viewer,zarr]" && rm -r /source \
    && useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["xanesum"]
