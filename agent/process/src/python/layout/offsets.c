/* Prints what agent/src/python/layout states of one CPython version, as that version's own headers
 * have it: a line `name offset` for each member. Compiled by the test beside it. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <frameobject.h>
#include <stddef.h>
#include <stdio.h>
#if PY_VERSION_HEX < 0x03090000
#include <internal/pycore_pystate.h>
#define RUNTIME _PyRuntimeState
#define INTERPRETER PyInterpreterState
#else
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#define RUNTIME _PyRuntimeState
#define INTERPRETER PyInterpreterState
#endif
#if PY_VERSION_HEX >= 0x030b0000
#include <internal/pycore_frame.h>
#define FRAME _PyInterpreterFrame
#else
#define FRAME PyFrameObject
#endif

#define SAY(name, value) printf("%s %zu\n", name, (size_t)(value))
#define ABSENT 65535
#define AT(type, member) offsetof(type, member)

int main(void)
{
    SAY("runtime.interpreters_head", AT(RUNTIME, interpreters.head));
    SAY("interpreter.id", AT(INTERPRETER, id));
    SAY("interpreter.next", AT(INTERPRETER, next));
#if PY_VERSION_HEX < 0x030b0000
    SAY("interpreter.threads_head", AT(INTERPRETER, tstate_head));
#else
    SAY("interpreter.threads_head", AT(INTERPRETER, threads.head));
#endif
#if PY_VERSION_HEX < 0x030c0000
    SAY("interpreter.modules", AT(INTERPRETER, modules));
    SAY("interpreter.gil", ABSENT);
    SAY("runtime.gil", AT(RUNTIME, ceval.gil));
#else
    SAY("interpreter.modules", AT(INTERPRETER, imports.modules));
    SAY("interpreter.gil", AT(INTERPRETER, ceval.gil));
    SAY("runtime.gil", ABSENT);
#endif
#if PY_VERSION_HEX < 0x03090000
    SAY("interpreter.gc", ABSENT);
#else
    SAY("interpreter.gc", AT(INTERPRETER, gc));
#endif
    SAY("gil.last_holder", AT(struct _gil_runtime_state, last_holder));
    SAY("gil.locked", AT(struct _gil_runtime_state, locked));
    SAY("gil.size", sizeof(struct _gil_runtime_state));

    SAY("thread.next", AT(PyThreadState, next));
    SAY("thread.interpreter", AT(PyThreadState, interp));
    SAY("thread.thread_id", AT(PyThreadState, thread_id));
#if PY_VERSION_HEX < 0x030b0000
    SAY("thread.native_thread_id", ABSENT);
    SAY("thread.frame", AT(PyThreadState, frame));
    SAY("thread.cframe_frame", ABSENT);
#elif PY_VERSION_HEX < 0x030d0000
    SAY("thread.native_thread_id", AT(PyThreadState, native_thread_id));
    SAY("thread.frame", AT(PyThreadState, cframe));
    SAY("thread.cframe_frame", AT(_PyCFrame, current_frame));
#else
    SAY("thread.native_thread_id", AT(PyThreadState, native_thread_id));
    SAY("thread.frame", AT(PyThreadState, current_frame));
    SAY("thread.cframe_frame", ABSENT);
#endif

#if PY_VERSION_HEX < 0x030b0000
    SAY("frame.code", AT(FRAME, f_code));
    SAY("frame.previous", AT(FRAME, f_back));
    SAY("frame.instruction", AT(FRAME, f_lasti));
    SAY("frame.owner", ABSENT);
    SAY("frame.locals", AT(FRAME, f_localsplus));
#else
#if PY_VERSION_HEX < 0x030d0000
    SAY("frame.code", AT(FRAME, f_code));
    SAY("frame.instruction", AT(FRAME, prev_instr));
#else
    SAY("frame.code", AT(FRAME, f_executable));
    SAY("frame.instruction", AT(FRAME, instr_ptr));
#endif
    SAY("frame.previous", AT(FRAME, previous));
#if PY_VERSION_HEX < 0x030c0000
    SAY("frame.owner", AT(FRAME, is_entry));
#else
    SAY("frame.owner", AT(FRAME, owner));
#endif
    SAY("frame.locals", AT(FRAME, localsplus));
#endif
#if PY_VERSION_HEX < 0x030a0000
    SAY("frame.stack_top", AT(FRAME, f_stacktop));
    SAY("frame.value_stack", AT(FRAME, f_valuestack));
#elif PY_VERSION_HEX < 0x030b0000
    SAY("frame.stack_top", AT(FRAME, f_stackdepth));
    SAY("frame.value_stack", AT(FRAME, f_valuestack));
#else
#if PY_VERSION_HEX < 0x030e0000
    SAY("frame.stack_top", AT(FRAME, stacktop));
#else
    SAY("frame.stack_top", AT(FRAME, stackpointer));
#endif
    SAY("frame.value_stack", ABSENT);
#endif

    SAY("code.filename", AT(PyCodeObject, co_filename));
    SAY("code.name", AT(PyCodeObject, co_name));
    SAY("code.first_line", AT(PyCodeObject, co_firstlineno));
    SAY("code.flags", AT(PyCodeObject, co_flags));
#if PY_VERSION_HEX < 0x030a0000
    SAY("code.lines", AT(PyCodeObject, co_lnotab));
#else
    SAY("code.lines", AT(PyCodeObject, co_linetable));
#endif
#if PY_VERSION_HEX < 0x030b0000
    SAY("code.qualname", ABSENT);
    SAY("code.instructions", AT(PyCodeObject, co_code));
    SAY("code.locals", AT(PyCodeObject, co_nlocals));
#else
    SAY("code.qualname", AT(PyCodeObject, co_qualname));
    SAY("code.instructions", AT(PyCodeObject, co_code_adaptive));
    SAY("code.locals", AT(PyCodeObject, co_nlocalsplus));
#endif

    SAY("object.type", AT(PyObject, ob_type));
    SAY("object.size", sizeof(PyObject));
    SAY("object.items", AT(PyVarObject, ob_size));
    SAY("type.name", AT(PyTypeObject, tp_name));
    SAY("type.flags", AT(PyTypeObject, tp_flags));
    SAY("bytes.data", AT(PyBytesObject, ob_sval));
    SAY("unicode.length", AT(PyASCIIObject, length));
    SAY("unicode.state", AT(PyASCIIObject, state));
    SAY("unicode.ascii_data", sizeof(PyASCIIObject));
    SAY("unicode.compact_data", sizeof(PyCompactUnicodeObject));

#if PY_VERSION_HEX < 0x030b0000
    SAY("generator.frame", AT(PyGenObject, gi_frame));
#else
    SAY("generator.frame", AT(PyGenObject, gi_iframe));
#endif
#if PY_VERSION_HEX < 0x030a0000
    SAY("generator.state", AT(PyGenObject, gi_running));
#elif PY_VERSION_HEX < 0x030b0000
    SAY("generator.state", AT(FRAME, f_state));
#else
    SAY("generator.state", AT(PyGenObject, gi_frame_state));
#endif
    SAY("generator.name", AT(PyGenObject, gi_name));
    SAY("generator.qualname", AT(PyGenObject, gi_qualname));
    return 0;
}
