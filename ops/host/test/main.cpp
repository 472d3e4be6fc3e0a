// The kernels against their definitions, on a CPU.
//
// kernels-test [--bounded] [--filter WORD]
#include "test.h"

#include <chrono>
#include <set>

Settings settings;
int failures = 0;
std::string test_name;
static std::set<std::string> launched;
static int checks = 0;

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

const SimtKernel* kernel(const std::string& name) {
    const SimtKernel* found = simt_find(name.c_str());
    if (!found) printf("there is no kernel %s\n", name.c_str()), exit(1);
    launched.insert(name);
    return found;
}

void report(const std::string& what, double worst, bool good) {
    checks++;
    failures += !good;
    if (!good) printf("WRONG  %-20s %-60s %5.2f of what is allowed\n", test_name.c_str(), what.c_str(), worst);
}

int main(int count, char** given) {
    for (int i = 1; i < count; i++) {
        const std::string word = given[i];
        const bool more = i + 1 < count;
        if (word == "--bounded")
            settings.bounded = true;
        else if (word == "--filter" && more)
            settings.filter = given[++i];
        else
            return printf("usage: kernels-test [--bounded] [--filter WORD]\n"), 2;
    }
    setvbuf(stdout, nullptr, _IOLBF, 0);
    int ran = 0;
    for (auto& test : tests()) {
        if (std::string(test.name).find(settings.filter) == std::string::npos) continue;
        test_name = test.name;
        const auto started = std::chrono::steady_clock::now();
        const int before = checks;
        test.run();
        const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
        printf("%-24s %4d checks  %6.2f s\n", test.name, checks - before, took);
        ran++;
    }
    if (!ran) return printf("no test's name contains %s\n", settings.filter.c_str()), 2;
    // A kernel that no test runs is not proved.
    if (settings.filter.empty())
        for (int i = 0; const SimtKernel* one = simt_kernel(i); i++)
            if (!launched.count(simt_name(one))) printf("WRONG  no test runs %s\n", simt_name(one)), failures++;
    printf("%d of %d checks failed\n", failures, checks);
    return failures > 0;
}
