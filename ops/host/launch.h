// How the stand-in driver finds and runs a kernel without a GPU: a plain C interface, so that it includes nothing else.
#pragma once
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

// A kernel that can be run, as fibers (host/simt.cpp) or from PTX text (host/ptx.cpp).
typedef struct SimtKernel SimtKernel;
typedef struct {
    unsigned x, y, z;
} SimtDim;

// The fiber version of a kernel; null if there is none of that name.
const SimtKernel* simt_find(const char* name);
// The kernels with fiber versions, by number; null behind the last.
const SimtKernel* simt_kernel(int index);
const char* simt_name(const SimtKernel* kernel);
int simt_parameters(const SimtKernel* kernel);
size_t simt_parameter_bytes(const SimtKernel* kernel, int index);
// The most threads that a block may have.
int simt_threads_max(const SimtKernel* kernel);
// Bytes of shared memory that the kernel itself declares: known for PTX, 0 for fibers.
size_t simt_static_shared(const SimtKernel* kernel);
// Runs every block to its end, on this thread. One launch at a time. A violation prints a sentence and aborts.
void simt_launch(const SimtKernel* kernel, SimtDim grid, SimtDim block, size_t shared_bytes, void** parameters);

// `allowed` is asked before the PTX interpreter reads or writes global memory, and before a fiber's asynchronous copy reads it;
// 0 refuses. Null: nothing is asked.
void simt_check_memory(int (*allowed)(unsigned long long address, size_t bytes, int write));
// The order in which warps and lanes run follows from it. From CAUSEWAY_SIMT_SEED, else 1.
void simt_seed(unsigned seed);

// A PTX text, read. Null, and a sentence in `error`, if it is not understood.
typedef struct SimtModule SimtModule;
SimtModule* ptx_load(const char* text, char* error, size_t error_bytes);
const SimtKernel* ptx_find(const SimtModule* module, const char* name);
void ptx_unload(SimtModule* module);

#ifdef __cplusplus
}
#endif
