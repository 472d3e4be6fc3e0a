// A cuBLASLt for tests on machines without a GPU: what Causeway asks of the library, carried out on the CPU beside the emulated
// driver, strictly. Products of bf16 with sums in f32; bias, GELU, and what is added.
//
// What it does not know it refuses, as the library does: another type or epilogue, an address off alignment, sizes that do not fit.
// Products are queued on the driver's streams, and are counted there as launches.
//
// Faults, asked for as those of the driver (libcuda.cpp):
//   EMULATED_CUDA_LT_VERSION=110401   the version that the library says it has
//   EMULATED_CUDA_LT_NONE=1           it has no kernel for anything
//   EMULATED_CUDA_LT_FAIL=1           every product fails when it is asked for
//   EMULATED_CUDA_LT_WRONG=N          products of at least N rows leave their last row out
//   EMULATED_CUDA_LT_SLOW=MS          every product takes so much longer
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>

extern "C" {
// libcuda.cpp
void cuEmulatedLater(void* stream, const char* what, size_t x, size_t y, size_t z, const std::function<void()>* work);
void cuEmulatedAllowed(unsigned long long address, size_t bytes, const char* what);
long cuEmulatedSetting(const char* name, long otherwise);
}

namespace {
enum Status { OK = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15, EXECUTION_FAILED = 13 };
enum { BF16 = 14, F32 = 0, COMPUTE_F32 = 68 };
enum { NONE = 1, BIAS = 4, GELU = 32 };

struct Layout { uint64_t rows, columns; int64_t step; };
struct Product { int turned = 0, epilogue = NONE; uint64_t bias = 0; };
struct Preference { uint64_t workspace = 0; uint32_t alignment[4] = {256, 256, 256, 256}; };
struct Heuristic { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; };
const uint64_t ALGORITHM = 0x5eed;
const size_t WORKSPACE = 4096;

float read(const uint16_t* p, uint64_t i) {
    const uint32_t bits = static_cast<uint32_t>(p[i]) << 16;
    float f;
    return memcpy(&f, &bits, 4), f;
}
void write(uint16_t* p, uint64_t i, float f) {
    uint32_t x;
    memcpy(&x, &f, 4);
    p[i] = (x & 0x7fffffffu) > 0x7f800000u ? 0x7fff : static_cast<uint16_t>((x + 0x7fff + (x >> 16 & 1)) >> 16);
}
float gelu(float x) { return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x))); }

// Aᵀ·B: m rows and n columns, counted by columns; false if the sizes do not fit.
bool fits(const Product& p, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
    return p.turned == 1 && a.rows == b.rows && a.columns == d.rows && b.columns == d.columns && c.rows == d.rows && c.columns == d.columns;
}
}  // namespace

extern "C" {
#define API __attribute__((visibility("default"))) int
__attribute__((visibility("default"))) size_t cublasLtGetVersion() { return static_cast<size_t>(cuEmulatedSetting("LT_VERSION", 120804)); }
API cublasLtCreate(void** handle) { return *handle = reinterpret_cast<void*>(8), OK; }
API cublasLtDestroy(void*) { return OK; }
API cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t step) {
    if (type != BF16) return NOT_SUPPORTED;
    if (step < static_cast<int64_t>(rows) || !rows || !columns) return INVALID_VALUE;
    return *layout = new Layout{rows, columns, step}, OK;
}
API cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, OK; }
API cublasLtMatmulDescCreate(Product** product, int compute, int scale) {
    if (compute != COMPUTE_F32 || scale != F32) return NOT_SUPPORTED;
    return *product = new Product, OK;
}
API cublasLtMatmulDescSetAttribute(Product* product, int what, const void* value, size_t bytes) {
    if (what == 3 && bytes == 4) return memcpy(&product->turned, value, 4), OK;
    if (what == 7 && bytes == 4) return memcpy(&product->epilogue, value, 4), OK;
    if (what == 8 && bytes == 8) return memcpy(&product->bias, value, 8), OK;
    return INVALID_VALUE;
}
API cublasLtMatmulDescDestroy(Product* product) { return delete product, OK; }
API cublasLtMatmulPreferenceCreate(Preference** preference) { return *preference = new Preference, OK; }
API cublasLtMatmulPreferenceSetAttribute(Preference* preference, int what, const void* value, size_t bytes) {
    if (what == 1 && bytes == 8) return memcpy(&preference->workspace, value, 8), OK;
    if (what >= 5 && what <= 8 && bytes == 4) return memcpy(&preference->alignment[what - 5], value, 4), OK;
    return INVALID_VALUE;
}
API cublasLtMatmulPreferenceDestroy(Preference* preference) { return delete preference, OK; }
API cublasLtMatmulAlgoGetHeuristic(void*, const Product* product, const Layout* a, const Layout* b, const Layout* c, const Layout* d,
                                   const Preference* preference, int wanted, Heuristic* result, int* found) {
    *found = 0;
    if (wanted < 1 || !fits(*product, *a, *b, *c, *d)) return INVALID_VALUE;
    const bool known = product->epilogue == NONE || !(product->epilogue & ~(BIAS | GELU));
    if (!known || cuEmulatedSetting("LT_NONE", 0) || preference->workspace < WORKSPACE) return NOT_SUPPORTED;
    memset(result, 0, sizeof *result);
    result->algorithm[0] = ALGORITHM;
    result->workspace = WORKSPACE;
    return *found = 1, OK;
}
API cublasLtMatmul(void*, const Product* product, const float* alpha, const uint16_t* a, const Layout* la, const uint16_t* b, const Layout* lb,
                   const float* beta, const uint16_t* c, const Layout* lc, uint16_t* d, const Layout* ld, const uint64_t* algorithm,
                   void* workspace, size_t workspace_bytes, void* stream) {
    if (!fits(*product, *la, *lb, *lc, *ld) || algorithm[0] != ALGORITHM || workspace_bytes < WORKSPACE) return INVALID_VALUE;
    for (const void* address : {static_cast<const void*>(a), static_cast<const void*>(b), static_cast<const void*>(c), static_cast<const void*>(d)})
        if (reinterpret_cast<uintptr_t>(address) % 16) return NOT_SUPPORTED;
    if (cuEmulatedSetting("LT_FAIL", 0)) return EXECUTION_FAILED;
    const long wrong = cuEmulatedSetting("LT_WRONG", 0), slow = cuEmulatedSetting("LT_SLOW", 0);
    const std::function<void()> work = [=, p = *product, A = *la, B = *lb, C = *lc, D = *ld, scale = *alpha, keep = *beta] {
        const auto span = [](const Layout& l) { return ((l.columns - 1) * static_cast<uint64_t>(l.step) + l.rows) * 2; };
        const auto allowed = [](const void* address, size_t bytes, const char* what) {
            cuEmulatedAllowed(reinterpret_cast<unsigned long long>(address), bytes, what);
        };
        allowed(a, span(A), "a product reads past the end of its weight");
        allowed(b, span(B), "a product reads past the end of what it is given");
        allowed(d, span(D), "a product writes past the end of its result");
        allowed(workspace, workspace_bytes, "a product's workspace ends early");
        if (keep != 0) allowed(c, span(C), "a product reads past the end of what it adds");
        const auto* bias = reinterpret_cast<const uint16_t*>(p.bias);
        if (p.epilogue & BIAS) allowed(bias, D.rows * 2, "a product reads past the end of its bias");
        memset(workspace, 0xff, workspace_bytes);
        if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(slow));
        const uint64_t columns = wrong && static_cast<long>(D.columns) >= wrong ? D.columns - 1 : D.columns;
        for (uint64_t j = 0; j < columns; j++)
            for (uint64_t i = 0; i < D.rows; i++) {
                float sum = 0;
                for (uint64_t k = 0; k < A.rows; k++) sum += read(a, k + i * A.step) * read(b, k + j * B.step);
                sum *= scale;
                if (keep != 0) sum += keep * read(c, i + j * C.step);
                if (p.epilogue & BIAS) sum += read(bias, i);
                write(d, i + j * D.step, p.epilogue & GELU ? gelu(sum) : sum);
            }
    };
    return cuEmulatedLater(stream, "cublasLtMatmul", ld->columns, la->rows, ld->rows, &work), OK;
}
}
