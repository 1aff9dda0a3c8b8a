#pragma once
/* Ort cuda: what the CUDA provider of a Python package needs, where no loader looks. */

/**
 * Load NVIDIA's libraries from the Python packages (nvidia-cublas and so on) beside the package that `library` lies in,
 * and leave them loaded. What is not there may be elsewhere: the provider's own error tells what it misses.
 *
 * library: path of libonnxruntime.
 * Thread:  any; blocks.
 */
void amb_ort_load_cuda(const char *library);
