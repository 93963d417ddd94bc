# lldm in a small image:
#
#   docker build --tag lldm .
#   docker run --rm --interactive --tty lldm run "The spaceship"

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package lldm-cli

FROM debian:bookworm-slim
RUN useradd --create-home --uid 10001 lldm
COPY --from=build /src/target/release/lldm /usr/local/bin/lldm
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/lldm/
USER lldm
WORKDIR /home/lldm
ENTRYPOINT ["lldm"]
CMD ["--help"]
