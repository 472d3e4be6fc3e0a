// All kernels as fibers. Each has its own namespace: on a GPU each file is a module of its own.
#include "../kernels/product.cuh"

namespace norm {
#include "../kernels/norm.cu"
}
namespace elementwise {
#include "../kernels/elementwise.cu"
}
namespace frames {
#include "../kernels/frames.cu"
}
namespace linear {
#include "../kernels/linear.cu"
}
namespace conv {
#include "../kernels/conv.cu"
}
namespace attention {
#include "../kernels/attention.cu"
}
