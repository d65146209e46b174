// Threads of C++ that wait for each other for ever, and ones that look like it and do not. One mode a run.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;

static std::mutex a, b;
static std::shared_mutex shared_a, shared_b;
static std::atomic<int> have;
static std::mutex known_lock;
static std::map<std::string, pid_t> known;

static void know(const char *name)
{
    std::lock_guard<std::mutex> guard(known_lock);
    known[name] = gettid();
    prctl(PR_SET_NAME, name);
}

template <typename Mutex> [[gnu::noinline]] static void take(Mutex &mutex)
{
    std::unique_lock<Mutex> guard(mutex);
}

template <typename Mutex> static void take_both(const char *name, Mutex &first, Mutex &second)
{
    know(name);
    std::unique_lock<Mutex> guard(first);
    have++;
    while (have < 2)
        std::this_thread::sleep_for(1ms);
    take(second);
}

// Reads under one, and wants to write under the other.
[[gnu::noinline]] static void read_and_write(const char *name, std::shared_mutex &read,
                                             std::shared_mutex &written)
{
    know(name);
    std::shared_lock<std::shared_mutex> guard(read);
    have++;
    while (have < 2)
        std::this_thread::sleep_for(1ms);
    std::unique_lock<std::shared_mutex> other(written);
}

// Both at once, by an order that std::scoped_lock sees to.
static void take_in_order(const char *name, std::mutex &first, std::mutex &second)
{
    know(name);
    for (;;) {
        {
            std::scoped_lock both(first, second);
            std::this_thread::sleep_for(1ms);
        }
        std::this_thread::sleep_for(20ms);
    }
}

static void wait_for_work(const char *name)
{
    static std::condition_variable work;
    know(name);
    std::unique_lock<std::mutex> guard(a);
    work.wait(guard, [] { return false; });
}

int main(int count, char **arguments)
{
    alarm(300);
    know("main");
    std::string mode = count > 1 ? arguments[1] : "";
    auto start = [](auto... what) { std::thread(what...).detach(); };
    if (mode == "abba") {
        start([] { take_both("one", a, b); });
        start([] { take_both("two", b, a); });
    } else if (mode == "shared") {
        start([] { take_both("one", shared_a, shared_b); });
        start([] { take_both("two", shared_b, shared_a); });
    } else if (mode == "shared-read") {
        // As in a program that has run for a while: the linker has bound the calls.
        take(shared_a);
        start([] { read_and_write("one", shared_a, shared_b); });
        start([] { read_and_write("two", shared_b, shared_a); });
    } else if (mode == "in-order") {
        start([] { take_in_order("one", a, b); });
        start([] { take_in_order("two", b, a); });
    } else if (mode == "pool") {
        start([] { wait_for_work("worker-1"); });
        start([] { wait_for_work("worker-2"); });
    } else {
        return 2;
    }
    std::this_thread::sleep_for(300ms);
    printf("ready {\"pid\":%d,\"tids\":{", getpid());
    const char *comma = "";
    for (auto &[name, tid] : known) {
        printf("%s\"%s\":%d", comma, name.c_str(), tid);
        comma = ",";
    }
    printf("}}\n");
    fflush(stdout);
    for (;;)
        std::this_thread::sleep_for(1s);
}
