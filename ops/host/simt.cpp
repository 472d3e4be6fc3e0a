// The scheduler behind simt.h, and the registry of kernels.
#include "../kernels/portable.cuh"

#include <deque>
#include <sys/mman.h>
// How fibers change: by a few lines of assembly, or, on other processors than x86-64, by the C library.
#if defined(__x86_64__) && !defined(SIMT_UCONTEXT)
#define SIMT_ASSEMBLY
#else
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace simt {
thread_local Block* block;
thread_local int current;
thread_local SimtDim thread_index, block_index, block_size, grid_size;
thread_local unsigned char* dynamic_shared;
static thread_local const std::function<void()>* body;
static thread_local std::vector<char*> stacks;
static const char* kernel_name = "";
static int (*memory_check)(unsigned long long, size_t, int);

// Room for a kernel's frames, more than twice what an AddressSanitizer build of the largest needs. A page below it is forbidden.
const size_t STACK = 256 << 10, GUARD = 4096;

static u64 first_seed() {
    const char* given = getenv("CAUSEWAY_SIMT_SEED");
    return given ? strtoul(given, nullptr, 10) : 1;
}
static u64 random_state = first_seed();
static unsigned random_bits() {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(random_state >> 33);
}
unsigned random_below(unsigned n) { return random_bits() % n; }
bool coin() { return random_bits() & 1; }

void fail(const char* why) {
    fprintf(stderr, "simt: %s (kernel %s, block %u,%u,%u, thread %u,%u,%u)\n", why, kernel_name, block_index.x, block_index.y,
            block_index.z, thread_index.x, thread_index.y, thread_index.z);
    abort();
}

// Fibers: `leave` goes back to the scheduler, `enter` to a lane.
#ifdef SIMT_ASSEMBLY
extern "C" void simt_switch(void** save, void* to);
asm(R"(
.text
.type simt_switch,@function
simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static thread_local void* scheduler;
static void leave() { simt_switch(&block->lanes[current].stack_pointer, scheduler); }
static void enter(Lane& lane) { simt_switch(&scheduler, lane.stack_pointer); }
static void first(Lane& lane, char* stack, void (*start)()) {
    void** top = (void**)(stack + STACK) - 1;
    *--top = (void*)start;
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    lane.stack_pointer = top;
}
#else
static thread_local ucontext_t scheduler;
static void leave() { swapcontext((ucontext_t*)block->lanes[current].stack_pointer, &scheduler); }
static void enter(Lane& lane) { swapcontext(&scheduler, (ucontext_t*)lane.stack_pointer); }
static void first(Lane& lane, char* stack, void (*start)()) {
    // The context lies at the lower end of the fiber's own stack.
    auto* context = (ucontext_t*)stack;
    getcontext(context);
    context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
    context->uc_stack.ss_size = STACK - sizeof(ucontext_t);
    context->uc_link = nullptr;
    makecontext(context, start, 0);
    lane.stack_pointer = context;
}
#endif

static char* stack_of(int lane) {
    while ((int)stacks.size() <= lane) {
        void* memory = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, GUARD, PROT_NONE)) fail("no memory for the stack of a fiber");
        stacks.push_back((char*)memory + GUARD);
    }
    return stacks[lane];
}

static void start() {
    (*body)();
    Lane& lane = block->lanes[current];
    lane.done = true;
    // A thread that ends with copies on their way leaves them to land after its block is gone.
    for (auto& group : lane.groups)
        if (!group.empty()) fail("a thread ended before its asynchronous copies were waited for");
    block->alive--;
    if (block->arrived) fail("a thread ended while others wait for it at a barrier");
    Warp& warp = block->warps[current / WARP];
    if (warp.arrived) fail("a thread ended while its warp waits for it in a warp operation");
    warp.ended++;
    leave();
    abort();
}

void* static_shared(const void* key, size_t bytes) {
    for (auto& [known, memory] : block->arrays)
        if (known == key) return memory.data();
    block->arrays.emplace_back(key, std::vector<u64>((bytes + 7) / 8, ~0ull));  // NaN until written
    return block->arrays.back().second.data();
}

void land(const Copy& copy) {
    if (copy.there)
        memcpy(copy.to, copy.from, 16);
    else
        memset(copy.to, 0, 16);
}

bool allowed(const void* address, size_t bytes, bool write) {
    return !memory_check || memory_check((unsigned long long)address, bytes, write);
}

u32 round_to_bf16(float f) {
    const u32 x = float_bits(f);
    return (x & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (x + 0x7fff + (x >> 16 & 1)) >> 16;
}

// The places of all lanes' numbers, row-major, worked out once: this is where the emulation spends its time.
struct Places {
    unsigned char left[WARP][8], right[WARP][4], sum[WARP][4];
    Places() {
        auto at = [](Place place, int columns) { return (unsigned char)(place.row * columns + place.column); };
        for (int lane = 0; lane < WARP; lane++) {
            for (int i = 0; i < 8; i++) left[lane][i] = at(left_place(lane, i), 16);
            for (int i = 0; i < 4; i++) right[lane][i] = at(right_place(lane, i), 8), sum[lane][i] = at(sum_place(lane, i), 8);
        }
    }
};

__attribute__((optimize("O3"))) void mma(Exchange* of) {
    static const Places places;
    alignas(64) u32 left[16 * 16], right[16 * 8];  // bits of f32
    alignas(64) float sums[16 * 8] = {};
    for (int lane = 0; lane < WARP; lane++) {
        for (int i = 0; i < 8; i++) left[places.left[lane][i]] = of[lane].a[i / 2] >> 16 * (i % 2) << 16;
        for (int i = 0; i < 4; i++) right[places.right[lane][i]] = of[lane].b[i / 2] >> 16 * (i % 2) << 16;
    }
    float a[16 * 16], b[16 * 8];
    memcpy(a, left, sizeof a), memcpy(b, right, sizeof b);
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++)
            for (int column = 0; column < 8; column++) sums[row * 8 + column] += a[row * 16 + k] * b[k * 8 + column];
    for (int lane = 0; lane < WARP; lane++)
        for (int i = 0; i < 4; i++) of[lane].sums[i] += sums[places.sum[lane][i]];
}

void load_tiles(Exchange* of, bool turned) {
    for (int lane = 0; lane < WARP; lane++)
        for (int tile = 0; tile < 4; tile++) {
            u32 word = 0;
            for (int i = 0; i < 2; i++) {
                const Place at = tile_place(lane, i, turned);
                word |= (u32)((const bf16*)of[tile * 8 + at.row].address)[at.column].bits << 16 * i;
            }
            of[lane].got[tile] = word;
        }
}

void meet(Meeting meeting) {
    Warp& warp = block->warps[current / WARP];
    if (warp.arrived == 0) warp.meeting = meeting;
    if (warp.meeting != meeting) fail("lanes of a warp are in different warp operations");
    Lane* lanes = &block->lanes[current / WARP * WARP];
    if (warp.ended) fail("a warp operation that an ended thread misses");
    if (++warp.arrived < warp.lanes) {
        block->lanes[current].waits = true;
        return leave();
    }
    if (warp.lanes != WARP) fail("a warp operation in a warp of fewer than 32 threads");
    switch (meeting) {
        case Meeting::Mma: mma(warp.of); break;
        case Meeting::Tiles: load_tiles(warp.of, false); break;
        case Meeting::TilesTurned: load_tiles(warp.of, true); break;
        case Meeting::Xor:
            for (int i = 0; i < WARP; i++) {
                if (warp.of[i].lanes != warp.of[0].lanes) fail("lanes of a warp exchange over different distances");
                warp.of[i].got[0] = warp.of[i ^ warp.of[i].lanes].a[0];
            }
            break;
        case Meeting::None: fail("no operation");
    }
    warp.arrived = 0;
    for (int i = 0; i < warp.lanes; i++) lanes[i].waits = false;
}

void block_sync(int line) {
    Block& b = *block;
    if (b.alive < (int)b.lanes.size()) fail("a barrier that an ended thread misses");
    if (b.arrived == 0) b.barrier_line = line;
    if (b.barrier_line != line) fail("threads of a block wait at different barriers");
    if (++b.arrived < b.alive) {
        b.lanes[current].waits = true;
        return leave();
    }
    b.arrived = 0;
    for (auto& lane : b.lanes) lane.waits = false;
}

// One warp, any that can go on, runs alone for a random stretch; its lanes take turns in a new order every time.
static void run_block(Block& here) {
    std::vector<int> ready;
    while (here.alive) {
        ready.clear();
        for (int w = 0; w < (int)here.warps.size(); w++)
            for (int i = 0; i < here.warps[w].lanes; i++) {
                const Lane& lane = here.lanes[w * WARP + i];
                if (!lane.done && !lane.waits) {
                    ready.push_back(w);
                    break;
                }
            }
        if (ready.empty()) fail("threads wait for others that never come");
        const int w = ready[random_below(ready.size())];
        for (int more = random_below(300); more >= 0; more--) {
            const unsigned bits = random_bits(), start = bits >> 8, step = bits | 1;  // odd: every lane once
            bool moved = false;
            for (unsigned i = 0; i < WARP; i++) {
                const int lane = (start + i * step) % WARP;
                if (lane >= here.warps[w].lanes) continue;
                Lane& one = here.lanes[w * WARP + lane];
                if (one.done || one.waits) continue;
                moved = true;
                current = w * WARP + lane;
                thread_index = one.thread;
                enter(one);
            }
            if (!moved) break;
        }
    }
}

void run(SimtDim grid, SimtDim size, size_t shared_bytes, const std::function<void()>& kernel) {
    const int lanes = size.x * size.y * size.z;
    body = &kernel;
    block_size = size, grid_size = grid;
    Block here;
    here.lanes.resize(lanes);
    here.warps.resize((lanes + WARP - 1) / WARP);
    for (size_t i = 0; i < here.warps.size(); i++) here.warps[i].lanes = std::min(WARP, lanes - (int)i * WARP);
    block = &here;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                // Of its exact size, so that AddressSanitizer sees what goes past its end.
                void* memory = nullptr;
                if (posix_memalign(&memory, 128, shared_bytes ? shared_bytes : 1)) fail("no memory for shared memory");
                memset(memory, 0xff, shared_bytes);
                dynamic_shared = (unsigned char*)memory;
                here.alive = lanes, here.arrived = 0;
                for (auto& warp : here.warps) warp.ended = 0;
                here.arrays.clear();
                here.arrays.reserve(16);  // addresses of the arrays are kept by the fibers
                block_index = {x, y, z};
                for (int i = 0; i < lanes; i++) {
                    Lane& lane = here.lanes[i];
                    lane.done = lane.waits = false;
                    lane.thread = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
                    lane.groups.assign(1, {});
#ifdef __SANITIZE_ADDRESS__
                    // The last fiber that had this stack never returned from its first function.
                    __asan_unpoison_memory_region(stack_of(i) + STACK - 4096, 4096);
#endif
                    first(lane, stack_of(i), start);
                }
                run_block(here);
                free(memory);
            }
}

static std::deque<SimtKernel>& kernels() {
    static std::deque<SimtKernel> all;
    return all;
}
SimtKernel& add(const char* name, int threads_max) {
    kernels().emplace_back();
    kernels().back().name = name;
    kernels().back().threads_max = threads_max;
    return kernels().back();
}
}  // namespace simt

extern "C" {
const SimtKernel* simt_kernel(int index) {
    return index < (int)simt::kernels().size() ? &simt::kernels()[index] : nullptr;
}
const SimtKernel* simt_find(const char* name) {
    for (auto& kernel : simt::kernels())
        if (kernel.name == name) return &kernel;
    return nullptr;
}
const char* simt_name(const SimtKernel* kernel) { return kernel->name.c_str(); }
int simt_parameters(const SimtKernel* kernel) { return kernel->parameter_bytes.size(); }
size_t simt_parameter_bytes(const SimtKernel* kernel, int index) { return kernel->parameter_bytes.at(index); }
int simt_threads_max(const SimtKernel* kernel) { return kernel->threads_max; }
size_t simt_static_shared(const SimtKernel* kernel) { return kernel->static_shared; }
void simt_launch(const SimtKernel* kernel, SimtDim grid, SimtDim block, size_t shared_bytes, void** parameters) {
    simt::kernel_name = kernel->name.c_str();
    const unsigned threads = block.x * block.y * block.z;
    if (!threads || threads > 1024 || threads > (unsigned)kernel->threads_max) simt::fail("a block of more threads than the kernel allows");
    if (shared_bytes > 227 << 10) simt::fail("more shared memory than any GPU has");
    kernel->run(grid, block, shared_bytes, parameters);
}
void simt_check_memory(int (*allowed)(unsigned long long, size_t, int)) { simt::memory_check = allowed; }
void simt_seed(unsigned seed) { simt::random_state = seed; }
}
