// Chains of C++: exceptions in flight, templates that call back, virtual calls.
#include "unwind.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace {

int opaque(int number)
{
    __asm__ volatile("" : "+r"(number));
    return number;
}

} // namespace

// Its destructor runs while an exception passes by: its frame is made by the unwinder of the
// language, below functions that are half left.
struct Guard {
    NAMED ~Guard();
};

Guard::~Guard()
{
    leaf();
    AND_RETURN;
}

extern "C" {

NAMED void throws_at(int depth)
{
    if (depth == 0)
        throw std::runtime_error("from the depth");
    throws_at(depth - 1);
    AND_RETURN;
}

NAMED void has_a_guard()
{
    Guard guard;
    throws_at(opaque(20));
}

NAMED void *thread_cleanup(void *none)
{
    try {
        has_a_guard();
    } catch (const std::runtime_error &) {
    }
    return none;
}

NAMED void catches(int depth)
{
    try {
        throws_at(opaque(20));
    } catch (const std::runtime_error &) {
        if (depth > 1)
            catches(depth - 1);
        else
            leaf();
    }
    AND_RETURN;
}

NAMED void *thread_catch(void *none)
{
    catches(opaque(5));
    AND_RETURN;
    return none;
}

NAMED bool less_by_leaf(int left, int right)
{
    leaf();
    AND_RETURN;
    return left < right;
}

NAMED void *thread_sort(void *none)
{
    std::vector<int> numbers{5, 4, 3, 2, 1};
    std::sort(numbers.begin(), numbers.end(), less_by_leaf);
    AND_RETURN;
    return none;
}

struct Shape {
    virtual void draw(int depth) = 0;
    virtual ~Shape() = default;
};

Shape *volatile shape;

struct Box final : Shape {
    NAMED void draw(int depth) override
    {
        if (depth > 1)
            shape->draw(depth - 1);
        else
            leaf();
        AND_RETURN;
    }
};

NAMED void *thread_virtual(void *none)
{
    static Box box;
    shape = &box;
    shape->draw(opaque(3));
    AND_RETURN;
    return none;
}

// Only while it burns: most samples are inside of the unwinder of the language.
NAMED void throws_again_and_again()
{
    for (;;) {
        try {
            throws_at(opaque(20));
        } catch (const std::runtime_error &) {
        }
        if (!burns())
            leaf();
    }
}

NAMED void *thread_throw(void *none)
{
    throws_again_and_again();
    AND_RETURN;
    return none;
}

const struct chain chains[] = {
    {"cleanup", thread_cleanup, 0}, {"catch", thread_catch, 0}, {"sort", thread_sort, 0},
    {"virtual", thread_virtual, 0}, {"throw", thread_throw, 0}, {nullptr, nullptr, 0},
};
}
