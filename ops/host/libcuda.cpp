// A CUDA driver for tests on machines without a GPU: what Causeway asks of libcuda, carried out on the CPU, strictly.
//
// Memory starts as NaN and ends at a page that nobody may touch; freed memory stays forbidden, so a use after free ends the
// process. Work that is queued on a stream does not run before somebody waits for it, and then streams take turns by chance,
// in every order that events allow: an event that is missing shows as wrong numbers. A block, a grid or an amount of shared
// memory beyond a GPU's limits is refused as a driver refuses it. Everything is counted.
//
// There may be several devices. Each has memory, streams, events and kernels of its own: work of one that touches memory of another
// ends the process, and a handle of another device is refused. Threads may ask at once; what they wait for is carried out by one.
//
// Kernels are run from their sources by simt.cpp, found by name; a name that the module's PTX does not declare is refused. With
// EMULATED_CUDA_PTX=1 the PTX itself is run, by the interpreter in ptx.cpp.
//
// Faults are asked for by environment variables, or by cuEmulatedSet while a test runs:
//   EMULATED_CUDA_FAIL_ALLOCATION=N   the Nth allocation from now on fails; the driver is then asked once more, so a test
//                                     also sets EMULATED_CUDA_FAIL_COUNT=2, the calls that fail
//   EMULATED_CUDA_FAIL_LAUNCH=N       the Nth launch fails when it is asked for
//   EMULATED_CUDA_FAIL_WAIT=N         the Nth wait tells of work that failed
//   EMULATED_CUDA_FAIL_MODULE=N       the Nth text of kernels is refused
//   EMULATED_CUDA_FAIL_HOST_ALLOCATION=N  the Nth allocation of pinned memory fails
//   EMULATED_CUDA_SKIP_LAUNCH=N       the Nth launch does nothing
//   EMULATED_CUDA_WRONG_KERNEL=NAME   every launch of this kernel leaves its last block out: what a wrong kernel looks like
//   EMULATED_CUDA_LOST=N              the Nth device, counted from 0, computes no more
//   EMULATED_CUDA_DRIVER=11070        the version that the driver says it has
//   EMULATED_CUDA_MEMORY=BYTES        memory of the device
//   EMULATED_CUDA_DEVICES=N           how many devices there are; 0 is a machine with a driver and no GPU
//   EMULATED_CUDA_CAPABILITY=75       75 is sm_75
//   EMULATED_CUDA_SEED=N              of the order in which streams run
// And what is not a fault:
//   EMULATED_CUDA_LOG=FILE            a line a launch is appended there: the kernel, and the three sides of its grid; for a copy
//                                     from the device to itself `copy`, and its bytes
//   EMULATED_CUDA_IDLE=N              from the Nth launch on no kernel computes, and memory starts as zeros: to see quickly what is
//                                     launched
#include "launch.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <utility>
#include <vector>

namespace {
using Result = int;
using Address = unsigned long long;
enum : Result {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, LAUNCH_FAILED = 719
};
const size_t PAGE = 4096;
const int THREADS_MAX = 1024, SHARED_USUAL = 48 << 10, SHARED_MAX = 227 << 10;

struct Event { int device; unsigned recorded = 0, done = 0; std::chrono::steady_clock::time_point when{}; };
struct Work { std::function<bool()> may_run; std::function<void()> run; };
struct Stream { int device; std::deque<Work> queue; };
struct Module { std::string code; SimtModule* interpreted; int device; };
struct Function { const SimtKernel* kernel; int device; int shared_max = SHARED_USUAL; };
struct Allocation { size_t bytes; int device; };

// Everything below is touched by one thread at a time.
std::mutex gate;
std::vector<std::unique_ptr<Stream>> streams;
Stream* main_stream = (streams.push_back(std::make_unique<Stream>()), streams.back().get());
const int DEVICES_MAX = 16;
size_t taken[DEVICES_MAX];
// The device whose work is carried out now.
int running = 0;
// Work of some stream waits for work that another thread asks for.
bool threads_meet = false;
std::map<Address, Allocation> device_memory, host_memory;
std::map<std::string, long> settings;
struct { unsigned long long launches, copies, waits, allocations, frees, bytes, bytes_most, host_allocations; } counts;
std::mt19937 dice(7);
thread_local void* context;
int contexts[DEVICES_MAX];
int here() { return static_cast<int>(static_cast<int*>(context) - contexts); }

long setting(const char* name, long otherwise) {
    auto found = settings.find(name);
    if (found != settings.end()) return found->second;
    const char* text = getenv((std::string("EMULATED_CUDA_") + name).c_str());
    return settings[name] = text ? atol(text) : otherwise;
}
// A fault that is due at the Nth call, and at FAIL_COUNT calls in all.
bool falls_due(const char* fault) {
    const long left = setting(fault, 0);
    if (left == 0) return false;
    if (left > 1) return settings[fault] = left - 1, false;
    const long more = setting("FAIL_COUNT", 1) - 1;
    if (more > 0) settings["FAIL_COUNT"] = more; else settings[fault] = 0;
    return true;
}

// The kernel that computes wrongly, if there is one.
std::string wrong_kernel = getenv("EMULATED_CUDA_WRONG_KERNEL") ? getenv("EMULATED_CUDA_WRONG_KERNEL") : "";

[[noreturn]] void fail(const char* what) {
    fprintf(stderr, "emulated CUDA: %s\n", what);
    abort();
}
// Into EMULATED_CUDA_LOG.
void note(const char* what, size_t x, size_t y, size_t z) {
    const char* log = getenv("EMULATED_CUDA_LOG");
    if (!log) return;
    FILE* file = fopen(log, "a");
    if (!file) fail("EMULATED_CUDA_LOG cannot be written");
    fprintf(file, "%s %zu %zu %zu\n", what, x, y, z);
    fclose(file);
}
bool inside(const std::map<Address, Allocation>& memory, Address from, size_t bytes) {
    auto at = memory.upper_bound(from);
    return at != memory.begin() && (--at)->first + at->second.bytes >= from + bytes;
}
void allowed(const std::map<Address, Allocation>& memory, Address from, size_t bytes, const char* what) {
    if (!inside(memory, from, bytes)) fail(what);
    if (&memory == &device_memory && std::prev(memory.upper_bound(from))->second.device != running) fail("work of one device touches memory of another");
}
int kernel_may(Address address, size_t bytes, int) {
    return inside(device_memory, address, bytes) && std::prev(device_memory.upper_bound(address))->second.device == running;
}

Stream& of(void* stream) { return stream ? *static_cast<Stream*>(stream) : *main_stream; }
void later(void* stream, std::function<void()> run) { of(stream).queue.push_back({[] { return true; }, std::move(run)}); }

// One piece of work of any stream that may go on.
bool step() {
    std::vector<Stream*> ready;
    for (auto& stream : streams)
        if (!stream->queue.empty() && stream->device != setting("LOST", -1) && stream->queue.front().may_run()) ready.push_back(stream.get());
    if (ready.empty()) return false;
    Stream* chosen = ready[dice() % ready.size()];
    auto& queue = chosen->queue;
    running = chosen->device;
    const auto run = std::move(queue.front().run);
    queue.pop_front();
    run();
    return true;
}
// Let others ask for work, if some is missing. The caller holds the gate.
void patiently(int& tries) {
    if (!threads_meet || ++tries > 30000) fail("somebody waits for work that waits for an event nobody recorded");
    gate.unlock();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    gate.lock();
}
void work_until(const std::function<bool()>& done) {
    for (int tries = 0; !done();)
        if (step()) tries = 0; else patiently(tries);
}
void run_until(const std::function<bool()>& done) {
    counts.waits++;
    work_until(done);
}
// Until a device has done all that it was asked for.
void drain(int device) {
    work_until([=] { return std::all_of(streams.begin(), streams.end(), [=](auto& stream) { return stream->device != device || stream->queue.empty(); }); });
}

// Is this pinned memory? The copy itself finds out if it ends inside.
bool pinned(Address from) {
    auto at = host_memory.upper_bound(from);
    return at != host_memory.begin() && (--at)->first + at->second.bytes > from;
}
// So many bytes of memory that is not pinned are put into the queue with the command.
const size_t TAKEN_ALONG = 64 << 10;

// Memory whose end is as near to the forbidden page as the alignment of allocations lets it.
Result take(std::map<Address, Allocation>& memory, Address* address, size_t bytes) {
    const size_t room = (bytes + PAGE - 1) / PAGE * PAGE;
    char* at = static_cast<char*>(mmap(nullptr, room + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (at == MAP_FAILED) return OUT_OF_MEMORY;
    mprotect(at + room, PAGE, PROT_NONE);
    if (!setting("IDLE", 0)) memset(at, 0xff, room);
    *address = reinterpret_cast<Address>(at) + (room - bytes) / 16 * 16;
    memory[*address] = {bytes, here()};
    return SUCCESS;
}
// Pages stay taken, so that no later allocation lies there.
Result give_back(std::map<Address, Allocation>& memory, Address address) {
    auto at = memory.find(address);
    if (at == memory.end()) return INVALID_VALUE;
    const Address start = address / PAGE * PAGE;
    const size_t length = (address + at->second.bytes - start + PAGE - 1) / PAGE * PAGE;
    madvise(reinterpret_cast<void*>(start), length, MADV_DONTNEED);
    mprotect(reinterpret_cast<void*>(start), length, PROT_NONE);
    memory.erase(at);
    return SUCCESS;
}
size_t capacity() { return static_cast<size_t>(setting("MEMORY", 8l << 30)); }
}  // namespace

extern "C" {
#define API __attribute__((visibility("default"))) Result
#define HOLD std::lock_guard<std::mutex> hold(gate)
#define IN_CONTEXT if (!context) return INVALID_CONTEXT
#define OF_DEVICE(handle) if ((handle).device != here()) return INVALID_HANDLE

// For tests: 8 numbers, in the order of `counts`; a name without its prefix, and its new value.
API cuEmulatedCounts(unsigned long long* into) { HOLD; return memcpy(into, &counts, sizeof counts), SUCCESS; }
API cuEmulatedSet(const char* name, long value) { HOLD; return settings[name] = value, SUCCESS; }
API cuEmulatedWrongKernel(const char* name) { HOLD; return wrong_kernel = name, SUCCESS; }

// For libcublasLt.cpp: work behind what is queued on the stream, noted as a launch is; memory that must be the device's.
__attribute__((visibility("default"))) void cuEmulatedLater(void* stream, const char* what, size_t x, size_t y, size_t z, const std::function<void()>* work) {
    HOLD;
    counts.launches++;
    note(what, x, y, z);
    later(stream, *work);
}
__attribute__((visibility("default"))) void cuEmulatedAllowed(Address address, size_t bytes, const char* what) { allowed(device_memory, address, bytes, what); }
__attribute__((visibility("default"))) long cuEmulatedSetting(const char* name, long otherwise) { HOLD; return setting(name, otherwise); }

// For libnccl.cpp: the device of a stream; a fault that is due; work behind what is queued on the stream that runs when it may; memory
// that must be this device's, asked by work that runs.
__attribute__((visibility("default"))) int cuEmulatedDevice(void* stream) { HOLD; return of(stream).device; }
__attribute__((visibility("default"))) bool cuEmulatedFallsDue(const char* fault) { HOLD; return falls_due(fault); }
__attribute__((visibility("default"))) void cuEmulatedMeet(void* stream, size_t bytes, const std::function<void()>* arrive, const std::function<bool()>* met) {
    HOLD;
    counts.launches++;
    note("ncclGroup", bytes, 1, 1);
    threads_meet = true;
    later(stream, *arrive);
    of(stream).queue.push_back({*met, [] {}});
}
__attribute__((visibility("default"))) void cuEmulatedAllowedOn(int device, Address address, size_t bytes, const char* what) {
    const int before = std::exchange(running, device);
    allowed(device_memory, address, bytes, what);
    running = before;
}

API cuInit(unsigned) { HOLD; dice.seed(static_cast<unsigned>(setting("SEED", 7))); return setting("DEVICES", 1) ? SUCCESS : NO_DEVICE; }
API cuDriverGetVersion(int* version) { HOLD; return *version = static_cast<int>(setting("DRIVER", 13000)), SUCCESS; }
// NVRTC asks for this when it finds a driver; a table that holds only its own size says that there is nothing in it.
API cuGetExportTable(const void** table, const void*) { static const Address empty = 8; return *table = &empty, SUCCESS; }
API cuGetErrorName(Result error, const char** name) {
    static const std::map<Result, const char*> names{
        {SUCCESS, "CUDA_SUCCESS"}, {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"}, {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"}, {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
        {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"}, {NOT_READY, "CUDA_ERROR_NOT_READY"}, {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
    auto found = names.find(error);
    if (found == names.end()) return *name = nullptr, INVALID_VALUE;
    return *name = found->second, SUCCESS;
}
API cuGetErrorString(Result error, const char** text) { return cuGetErrorName(error, text); }
API cuDeviceGetCount(int* count) { HOLD; return *count = static_cast<int>(setting("DEVICES", 1)), SUCCESS; }
API cuDeviceGet(int* device, int number) { HOLD; return *device = number, number < setting("DEVICES", 1) ? SUCCESS : INVALID_DEVICE; }
API cuDeviceGetName(char* text, int room, int) { return snprintf(text, static_cast<size_t>(room), "emulated sm_80 on a CPU"), SUCCESS; }
API cuDeviceTotalMem_v2(size_t* bytes, int) { HOLD; return *bytes = capacity(), SUCCESS; }
API cuDeviceGetUuid(void* uuid, int) { return memset(uuid, 0, 16), SUCCESS; }
API cuDeviceGetUuid_v2(void* uuid, int) { return memset(uuid, 0, 16), SUCCESS; }
API cuDeviceGetAttribute(int* value, int what, int) {
    HOLD;
    switch (what) {
        case 1: *value = THREADS_MAX; break;  // threads of a block
        case 8: *value = SHARED_USUAL; break;
        case 10: *value = 32; break;          // a warp
        case 16: *value = 4; break;           // multiprocessors
        case 75: *value = static_cast<int>(setting("CAPABILITY", 80)) / 10; break;
        case 76: *value = static_cast<int>(setting("CAPABILITY", 80)) % 10; break;
        case 97: *value = SHARED_MAX; break;  // shared memory of a block, where it is asked for
        default: *value = 0;
    }
    return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void** out, int device) { return device < DEVICES_MAX ? (*out = &contexts[device], SUCCESS) : INVALID_DEVICE; }
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuCtxSetCurrent(void* given) { return context = given, SUCCESS; }
API cuCtxGetCurrent(void** out) { return *out = context, SUCCESS; }
API cuCtxGetDevice(int* device) { IN_CONTEXT; return *device = here(), SUCCESS; }
API cuCtxSynchronize() { IN_CONTEXT; HOLD; counts.waits++; drain(here()); return SUCCESS; }
API cuMemGetInfo_v2(size_t* free, size_t* all) {
    IN_CONTEXT; HOLD;
    *all = capacity();
    return *free = *all - std::min<size_t>(*all, taken[here()]), SUCCESS;
}

API cuMemAlloc_v2(Address* address, size_t bytes) {
    IN_CONTEXT; HOLD;
    if (!bytes) return INVALID_VALUE;
    if (falls_due("FAIL_ALLOCATION") || taken[here()] + bytes > capacity()) return OUT_OF_MEMORY;
    const Result result = take(device_memory, address, bytes);
    if (result == SUCCESS) counts.allocations++, counts.bytes += bytes, taken[here()] += bytes, counts.bytes_most = std::max(counts.bytes_most, counts.bytes);
    return result;
}
API cuMemFree_v2(Address address) {
    IN_CONTEXT; HOLD;
    drain(here());  // as the driver does: memory that work still reads is not taken from it
    auto at = device_memory.find(address);
    if (at == device_memory.end() || at->second.device != here()) return INVALID_VALUE;
    counts.frees++, counts.bytes -= at->second.bytes, taken[here()] -= at->second.bytes;
    return give_back(device_memory, address);
}
API cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    IN_CONTEXT; HOLD;
    Address taken;
    if (falls_due("FAIL_HOST_ALLOCATION") || take(host_memory, &taken, bytes) != SUCCESS) return OUT_OF_MEMORY;
    counts.host_allocations++;
    return *address = reinterpret_cast<void*>(taken), SUCCESS;
}
API cuMemFreeHost(void* address) {
    IN_CONTEXT; HOLD;
    drain(here());
    return give_back(host_memory, reinterpret_cast<Address>(address));
}
// Pinned memory is read when the copy runs; other memory before the call returns, which is what the driver promises.
API cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void* stream) {
    IN_CONTEXT; HOLD;
    OF_DEVICE(of(stream));
    counts.copies++;
    const Address source = reinterpret_cast<Address>(from);
    if (pinned(source)) {
        later(stream, [=] {
            allowed(host_memory, source, bytes, "a copy reads past the end of pinned memory");
            allowed(device_memory, to, bytes, "a copy writes past the end of an allocation");
            memcpy(reinterpret_cast<void*>(to), from, bytes);
        });
        return SUCCESS;
    }
    auto kept = std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    later(stream, [=] {
        allowed(device_memory, to, bytes, "a copy writes past the end of an allocation");
        memcpy(reinterpret_cast<void*>(to), kept->data(), bytes);
    });
    if (bytes > TAKEN_ALONG) run_until([=] { return of(stream).queue.empty(); });
    return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void* stream) {
    IN_CONTEXT; HOLD;
    OF_DEVICE(of(stream));
    counts.copies++;
    const bool in_background = pinned(reinterpret_cast<Address>(to));
    later(stream, [=] {
        if (in_background) allowed(host_memory, reinterpret_cast<Address>(to), bytes, "a copy writes past the end of pinned memory");
        allowed(device_memory, from, bytes, "a copy reads past the end of an allocation");
        memcpy(to, reinterpret_cast<void*>(from), bytes);
    });
    if (!in_background) run_until([=] { return of(stream).queue.empty(); });
    return SUCCESS;
}
API cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void* stream) {
    IN_CONTEXT; HOLD;
    OF_DEVICE(of(stream));
    counts.copies++;
    note("copy", bytes, 1, 1);
    later(stream, [=] {
        allowed(device_memory, from, bytes, "a copy reads past the end of an allocation");
        allowed(device_memory, to, bytes, "a copy writes past the end of an allocation");
        memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    });
    return SUCCESS;
}
API cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void* stream) {
    IN_CONTEXT; HOLD;
    OF_DEVICE(of(stream));
    later(stream, [=] {
        allowed(device_memory, to, bytes, "a fill writes past the end of an allocation");
        memset(reinterpret_cast<void*>(to), value, bytes);
    });
    return SUCCESS;
}

API cuStreamCreate(void** out, unsigned) {
    IN_CONTEXT; HOLD;
    streams.push_back(std::make_unique<Stream>());
    streams.back()->device = here();
    return *out = streams.back().get(), SUCCESS;
}
API cuStreamDestroy_v2(void* stream) {
    HOLD;
    work_until([=] { return of(stream).queue.empty(); });
    streams.erase(std::find_if(streams.begin(), streams.end(), [=](auto& one) { return one.get() == stream; }));
    return SUCCESS;
}
API cuStreamSynchronize(void* stream) {
    IN_CONTEXT; HOLD;
    run_until([=] { return of(stream).queue.empty(); });
    return falls_due("FAIL_WAIT") ? LAUNCH_FAILED : SUCCESS;
}
// Where devices meet, they go on while they are asked.
API cuStreamQuery(void* stream) {
    IN_CONTEXT; HOLD;
    if (of(stream).device == setting("LOST", -1)) return LAUNCH_FAILED;
    if (!of(stream).queue.empty() && threads_meet) step();
    return of(stream).queue.empty() ? SUCCESS : NOT_READY;
}
API cuStreamIsCapturing(void*, int* is) { return *is = 0, SUCCESS; }
API cuEventCreate(void** event, unsigned) { IN_CONTEXT; return *event = new Event{here()}, SUCCESS; }
API cuEventDestroy_v2(void*) { return SUCCESS; }  // work that is queued may still point at it
API cuEventRecord(void* given, void* stream) {
    IN_CONTEXT; HOLD;
    auto* event = static_cast<Event*>(given);
    OF_DEVICE(of(stream));
    OF_DEVICE(*event);
    const unsigned number = ++event->recorded;
    later(stream, [=] { event->done = std::max(event->done, number), event->when = std::chrono::steady_clock::now(); });
    return SUCCESS;
}
API cuEventSynchronize(void* given) {
    IN_CONTEXT; HOLD;
    auto* event = static_cast<Event*>(given);
    const unsigned number = event->recorded;
    run_until([=] { return event->done >= number; });
    return falls_due("FAIL_WAIT") ? LAUNCH_FAILED : SUCCESS;
}
API cuEventQuery(void* given) {
    HOLD;
    auto* event = static_cast<Event*>(given);
    if (event->done != event->recorded && threads_meet) step();
    return event->done == event->recorded ? SUCCESS : NOT_READY;
}
API cuEventElapsedTime(float* ms, void* start, void* end) {
    HOLD;
    auto *from = static_cast<Event*>(start), *to = static_cast<Event*>(end);
    if (from->done != from->recorded || to->done != to->recorded) return NOT_READY;
    return *ms = std::chrono::duration<float, std::milli>(to->when - from->when).count(), SUCCESS;
}
API cuStreamWaitEvent(void* stream, void* given, unsigned) {
    IN_CONTEXT; HOLD;
    auto* event = static_cast<Event*>(given);
    const unsigned number = event->recorded;
    of(stream).queue.push_back({[=] { return event->done >= number; }, [] {}});
    return SUCCESS;
}

// A text of PTX ends with a zero.
API cuModuleLoadData(void** module, const void* code) {
    IN_CONTEXT; HOLD;
    const char* text = static_cast<const char*>(code);
    if (!strstr(text, ".version") || falls_due("FAIL_MODULE")) return INVALID_IMAGE;
    SimtModule* interpreted = nullptr;
    if (setting("PTX", 0)) {
        char error[512] = "";
        interpreted = ptx_load(text, error, sizeof error);
        if (!interpreted) return fprintf(stderr, "emulated CUDA: %s\n", error), INVALID_IMAGE;
    }
    return *module = new Module{text, interpreted, here()}, SUCCESS;
}
API cuModuleUnload(void* given) {
    IN_CONTEXT; HOLD;
    auto* module = static_cast<Module*>(given);
    if (module->interpreted) ptx_unload(module->interpreted);
    delete module;
    return SUCCESS;
}
API cuModuleGetFunction(void** function, void* given, const char* name) {
    IN_CONTEXT; HOLD;
    auto* module = static_cast<Module*>(given);
    OF_DEVICE(*module);
    if (module->code.find(std::string(".entry ") + name + "(") == std::string::npos) return NOT_FOUND;
    const SimtKernel* kernel = module->interpreted ? ptx_find(module->interpreted, name) : simt_find(name);
    if (!kernel) return NOT_FOUND;
    simt_check_memory(kernel_may);
    return *function = new Function{kernel, here()}, SUCCESS;
}
API cuFuncSetAttribute(void* function, int what, int value) {
    if (what != 8) return SUCCESS;  // the most dynamic shared memory
    if (value > SHARED_MAX) return INVALID_VALUE;
    return static_cast<Function*>(function)->shared_max = value, SUCCESS;
}
API cuLaunchKernel(void* given, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void* stream, void** parameters, void**) {
    IN_CONTEXT; HOLD;
    auto* function = static_cast<Function*>(given);
    OF_DEVICE(*function);
    OF_DEVICE(of(stream));
    const bool grid = gx && gy && gz && gx <= 0x7fffffff && gy <= 65535 && gz <= 65535;
    const Address threads = static_cast<Address>(bx) * by * bz;
    const bool block = threads && bz <= 64 && threads <= static_cast<Address>(simt_threads_max(function->kernel));
    if (!grid || !block || static_cast<int>(shared) > function->shared_max) return INVALID_VALUE;
    counts.launches++;
    if (falls_due("FAIL_LAUNCH")) return LAUNCH_FAILED;
    note(simt_name(function->kernel), gx, gy, gz);
    const long idle = setting("IDLE", 0);
    if ((idle && counts.launches >= static_cast<Address>(idle)) || falls_due("SKIP_LAUNCH")) return SUCCESS;
    // The driver copies the parameters before it returns.
    auto copies = std::make_shared<std::vector<std::vector<char>>>();
    for (int i = 0; i < simt_parameters(function->kernel); i++) {
        const char* from = static_cast<const char*>(parameters[i]);
        copies->emplace_back(from, from + simt_parameter_bytes(function->kernel, i));
    }
    const auto* kernel = function->kernel;
    if (wrong_kernel == simt_name(kernel) && gx-- == 1) return SUCCESS;
    later(stream, [=] {
        std::vector<void*> pointers;
        for (auto& copy : *copies) pointers.push_back(copy.data());
        simt_launch(kernel, {gx, gy, gz}, {bx, by, bz}, shared, pointers.data());
    });
    return SUCCESS;
}
}
