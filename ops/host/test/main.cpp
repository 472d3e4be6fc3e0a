// The kernels against their definitions, on a CPU.
//
// kernels-test [--ptx FOLDER] [--bounded] [--filter WORD] [--random COUNT] [--seed NUMBER]
#include "test.h"

#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

Settings settings;
int failures = 0;
std::string test_name;
static std::set<std::string> launched;
static int checks = 0;

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

static const SimtKernel* in_ptx(const std::string& name) {
    static std::map<std::string, SimtModule*> modules;
    if (modules.empty())
        for (const char* file : {"norm", "elementwise", "frames", "linear", "conv", "attention"}) {
            std::ifstream in(settings.built + "/" + file + ".ptx");
            std::stringstream text;
            text << in.rdbuf();
            char error[400] = "there is no such file";
            SimtModule* module = in ? ptx_load(text.str().c_str(), error, sizeof error) : nullptr;
            if (!module) printf("%s.ptx: %s\n", file, error), exit(1);
            modules[file] = module;
        }
    for (auto& [file, module] : modules)
        if (const SimtKernel* found = ptx_find(module, name.c_str())) return found;
    return nullptr;
}

const SimtKernel* kernel(const std::string& name) {
    const SimtKernel* found = settings.ptx ? in_ptx(name) : simt_find(name.c_str());
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
        else if (word == "--ptx" && more)
            settings.ptx = true, settings.built = given[++i];
        else if (word == "--filter" && more)
            settings.filter = given[++i];
        else if (word == "--random" && more)
            settings.random = atoi(given[++i]);
        else if (word == "--seed" && more)
            settings.seed = atoi(given[++i]);
        else
            return printf("usage: kernels-test [--ptx FOLDER] [--bounded] [--filter WORD] [--random COUNT] [--seed NUMBER]\n"), 2;
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
