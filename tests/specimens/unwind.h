/* Known call chains, each in a thread of its own that stays in its leaf for ever. */
#ifndef UNWIND_H
#define UNWIND_H

#ifdef __cplusplus
extern "C" {
#endif

/* A function that stays whole and keeps its name and its arguments. */
#ifndef NAMED
#define NAMED __attribute__((noipa))
#endif
/* Behind a call that must not become a jump: the caller still has something to do. */
#define AND_RETURN __asm__ volatile("" : : : "memory")

struct chain {
    const char *name; /* of the thread */
    void *(*run)(void *);
    int apart; /* started only by its name: deeper than any stack that is shown */
};

/* Of the program; ends with a null name. */
extern const struct chain chains[];

/* The end of each chain, by the mode: `burn` spins, `wait` sleeps again and again, `still` sleeps
 * once and for ever. Never returns, but the compiler does not know that. */
void leaf(void);
/* Whether the mode is `burn`. */
int burns(void);

#ifdef __cplusplus
}
#endif
#endif
