/* A library that looks like an interpreter to whoever reads its symbols. Compiled at -O2, gcc takes
 * the calls of a cold function out of the loop, into `_PyEval_EvalFrameDefault.cold`. */
long _PyRuntime[16];
const unsigned long Py_Version = 0x030b07f0;

__attribute__((cold, noinline)) long rare(long at)
{
    return _PyRuntime[at & 15] += at;
}

long _PyEval_EvalFrameDefault(const unsigned char *code, long left)
{
    long value = 0;
    while (left--) {
        switch (*code++) {
        case 0: value += 1; break;
        case 1: value ^= left; break;
        case 2: value += rare(value); break;
        case 3: if (value > 7) { value = rare(left) * rare(value); code++; } break;
        default: value *= 3; break;
        }
    }
    return value;
}
