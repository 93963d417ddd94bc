"""The parts of `bench/peers`: products of ggml and of torch beside those of `lldm bench kernels`."""
