// An NCCL for tests on machines without a GPU: what Causeway asks of the library, carried out on the CPU beside the emulated driver,
// strictly. Groups of sends and receives between the devices of one process.
//
// What a rank sends is copied once both it and the receiver have come to their groups, each on its own stream; until then both
// streams wait. Numbers of bytes that differ, memory of another device and a stream of another device end the process, or are
// refused, as the library would hang or write where it must not.
//
// Faults, asked for as those of the driver (libcuda.cpp):
//   EMULATED_CUDA_NCCL_VERSION=20401  the version that the library says it has
//   EMULATED_CUDA_NCCL_START=1        it does not start
//   EMULATED_CUDA_NCCL_FAIL=N         the Nth group fails when it is asked for
//   EMULATED_CUDA_NCCL_ASYNC=N        the Nth question for errors in the background tells of one
//   EMULATED_CUDA_NCCL_WRONG=N        the Nth group leaves the last byte of what it sends out
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

extern "C" {
// libcuda.cpp
int cuEmulatedDevice(void* stream);
bool cuEmulatedFallsDue(const char* fault);
long cuEmulatedSetting(const char* name, long otherwise);
void cuEmulatedMeet(void* stream, size_t bytes, const std::function<void()>* arrive, const std::function<bool()>* met);
void cuEmulatedAllowedOn(int device, unsigned long long address, size_t bytes, const char* what);
}

namespace {
enum Result { OK = 0, UNHANDLED_CUDA_ERROR = 1, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6 };
const int BYTE = 1;  // ncclUint8

struct Transfer { char* at; size_t bytes; bool wrong, done = false; };
// From one rank to another, in the order in which both come to their groups.
struct Way { std::deque<std::shared_ptr<Transfer>> sent, expected; };
struct Clique {
    std::vector<int> devices;
    std::map<std::pair<int, int>, Way> ways;
    std::atomic<bool> ended{false};
};
struct Comm { std::shared_ptr<Clique> clique; int rank; };
struct Asked { Comm* comm; bool sends; int peer; std::shared_ptr<Transfer> transfer; void* stream; };
thread_local int depth = 0;
thread_local std::vector<Asked> asked;

// Called by work that runs, one at a time.
void meet(Clique& clique, int from, int to) {
    Way& way = clique.ways[{from, to}];
    while (!clique.ended && !way.sent.empty() && !way.expected.empty()) {
        Transfer &source = *way.sent.front(), &target = *way.expected.front();
        const auto address = [](const Transfer& one) { return reinterpret_cast<unsigned long long>(one.at); };
        cuEmulatedAllowedOn(clique.devices[static_cast<size_t>(from)], address(source), source.bytes, "a rank sends past the end of an allocation");
        cuEmulatedAllowedOn(clique.devices[static_cast<size_t>(to)], address(target), target.bytes, "a rank receives past the end of an allocation");
        if (source.bytes != target.bytes) {
            fprintf(stderr, "emulated NCCL: rank %d sends %zu bytes and rank %d expects %zu: a GPU hangs here\n", from, source.bytes, to, target.bytes);
            abort();
        }
        memcpy(target.at, source.at, source.bytes - source.wrong);
        source.done = target.done = true;
        way.sent.pop_front();
        way.expected.pop_front();
    }
}

Result finish(std::vector<Asked> all) {
    if (all.empty()) return OK;
    if (cuEmulatedFallsDue("NCCL_FAIL")) return SYSTEM_ERROR;
    const bool wrong = cuEmulatedFallsDue("NCCL_WRONG");
    Comm* comm = all[0].comm;
    void* stream = all[0].stream;
    auto clique = comm->clique;
    const int rank = comm->rank;
    size_t bytes = 0;
    for (auto& one : all) {
        // One rank a thread: that is all that Causeway asks for.
        if (one.comm != comm || one.stream != stream) return INVALID_USAGE;
        one.transfer->wrong = wrong && one.sends;
        bytes += one.sends ? one.transfer->bytes : 0;
    }
    if (cuEmulatedDevice(stream) != clique->devices[static_cast<size_t>(rank)]) return INVALID_ARGUMENT;
    const std::function<void()> arrive = [=] {
        for (auto& one : all) {
            Way& way = clique->ways[one.sends ? std::pair(rank, one.peer) : std::pair(one.peer, rank)];
            (one.sends ? way.sent : way.expected).push_back(one.transfer);
            one.sends ? meet(*clique, rank, one.peer) : meet(*clique, one.peer, rank);
        }
    };
    const std::function<bool()> met = [=] {
        for (auto& one : all)
            if (!one.transfer->done && !clique->ended) return false;
        return true;
    };
    return cuEmulatedMeet(stream, bytes, &arrive, &met), OK;
}

Result ask(Comm* comm, bool sends, const void* at, size_t count, int type, int peer, void* stream) {
    if (type != BYTE || !count || peer < 0 || peer >= static_cast<int>(comm->clique->devices.size()) || peer == comm->rank) return INVALID_ARGUMENT;
    if (!depth) return INVALID_USAGE;  // alone it would wait for its peer
    asked.push_back({comm, sends, peer, std::make_shared<Transfer>(Transfer{static_cast<char*>(const_cast<void*>(at)), count, false}), stream});
    return OK;
}
}  // namespace

extern "C" {
#define API __attribute__((visibility("default"))) int
API ncclGetVersion(int* version) { return *version = static_cast<int>(cuEmulatedSetting("NCCL_VERSION", 22005)), OK; }
__attribute__((visibility("default"))) const char* ncclGetErrorString(int result) {
    switch (result) {
        case OK: return "no error";
        case UNHANDLED_CUDA_ERROR: return "unhandled cuda error";
        case SYSTEM_ERROR: return "unhandled system error";
        case INVALID_ARGUMENT: return "invalid argument";
        case INVALID_USAGE: return "invalid usage";
        case REMOTE_ERROR: return "remote process exited or there was a network error";
        default: return "unknown result code";
    }
}
API ncclCommInitAll(Comm** comms, int count, const int* devices) {
    if (cuEmulatedSetting("NCCL_START", 0)) return UNHANDLED_CUDA_ERROR;
    auto clique = std::make_shared<Clique>();
    clique->devices.assign(devices, devices + count);
    for (int rank = 0; rank < count; rank++) comms[rank] = new Comm{clique, rank};
    return OK;
}
API ncclCommDestroy(Comm* comm) { return delete comm, OK; }
API ncclCommAbort(Comm* comm) { return comm->clique->ended = true, delete comm, OK; }
API ncclCommGetAsyncError(Comm*, int* result) { return *result = cuEmulatedFallsDue("NCCL_ASYNC") ? REMOTE_ERROR : OK, OK; }
API ncclGroupStart() { return depth++, OK; }
API ncclGroupEnd() {
    if (!depth) return INVALID_USAGE;
    if (--depth) return OK;
    return finish(std::exchange(asked, {}));
}
API ncclSend(const void* at, size_t count, int type, int peer, Comm* comm, void* stream) { return ask(comm, true, at, count, type, peer, stream); }
API ncclRecv(void* at, size_t count, int type, int peer, Comm* comm, void* stream) { return ask(comm, false, at, count, type, peer, stream); }
}
