// Dense layers: `act(x·Wᵀ + bias)`, then, if there is a residual, `residual + that·gate`.
//
// x `(rows, inputs)`, W `(outputs, inputs)` as checkpoints store it, out and residual `(rows, outputs)`; rows lie `…_step`
// numbers apart. bias, gate: f32, one a column, or null. See src/linear.rs.
// Fast where addresses are multiples of 16 bytes, and inputs and steps of 8. Executed in emulation, not yet on a GPU.
#include "product.cuh"

// Rows of a matrix, `rows` of them from `first` on.
template <class T>
struct Rows {
    const T* matrix;
    int first, rows, depth, step_between;
    bool wide;
    int done = 0;  // numbers of the depth before this step

    DEVICE_MEMBER void advance(int step, int numbers) { done = step * numbers; }
    DEVICE_MEMBER void part(int, int row, int part, T* to) const {
        const int k = done + part * PART, left = depth - k;
        const bool there = first + row < rows;
        fetch_part(to, matrix + (u64)(first + row) * step_between + k, matrix, !there || left < 0 ? 0 : left < PART ? left : PART, wide);
    }
    DEVICE_MEMBER float at(int, int row, int k) const {
        k += done;
        return first + row < rows && k < depth ? widen(matrix[(u64)(first + row) * step_between + k]) : 0.0f;
    }
};

template <class T>
struct LinearEnd {
    const float* bias;
    const T* residual;
    const float* gate;
    T* out;
    int first_row, first_column, rows, outputs, out_step, activation;

    DEVICE_MEMBER float finish(u64 at, int column, float y) const {
        if (bias) y += bias[column];
        y = activate(y, activation);
        if (residual) y = widen(residual[at]) + (gate ? y * gate[column] : y);
        return y;
    }
    DEVICE_MEMBER void four(int row, int column, const float* v) const {
        row += first_row, column += first_column;
        if (row >= rows || column >= outputs) return;
        const u64 at = (u64)row * out_step + column;
        const int count = outputs - column;
        float y[4];
#pragma unroll
        for (int i = 0; i < 4; i++) y[i] = i < count ? finish(at + i, column + i, v[i]) : 0.0f;
        put_four(out + at, y, count);
    }
};

DEVICE bool wide_rows(const bf16* matrix, int depth, int step) { return (u64)matrix % 16 == 0 && depth % PART == 0 && step % PART == 0; }

#define LINEAR_PARAMETERS(T)                                                                                                  \
    (const T* x, const T* weight, const float* bias, const T* residual, const float* gate, T* out, int rows, int inputs,      \
     int outputs, int x_step, int weight_step, int out_step, int activation)

KERNEL(linear_bf16, PRODUCT_THREADS, 2) LINEAR_PARAMETERS(bf16) {
    const int first_row = blockIdx.x * TILE, first_column = blockIdx.y * TILE;
    Rows<bf16> left = {x, first_row, rows, inputs, x_step, wide_rows(x, inputs, x_step)};
    Rows<bf16> right = {weight, first_column, outputs, inputs, weight_step, wide_rows(weight, inputs, weight_step)};
    const LinearEnd<bf16> end = {bias, residual, gate, out, first_row, first_column, rows, outputs, out_step, activation};
    tensor_product(left, right, (inputs + DEPTH - 1) / DEPTH, end);
}
REGISTER(linear_bf16, PRODUCT_THREADS)

KERNEL(linear_f32, PRODUCT_THREADS, 2) LINEAR_PARAMETERS(float) {
    const int first_row = blockIdx.x * PLAIN_TILE, first_column = blockIdx.y * PLAIN_TILE;
    Rows<float> left = {x, first_row, rows, inputs, x_step, false};
    Rows<float> right = {weight, first_column, outputs, inputs, weight_step, false};
    const LinearEnd<float> end = {bias, residual, gate, out, first_row, first_column, rows, outputs, out_step, activation};
    plain_product(left, right, (inputs + PLAIN_DEPTH - 1) / PLAIN_DEPTH, end);
}
REGISTER(linear_f32, PRODUCT_THREADS)
