/* What `hostile` has in a library. */
#ifndef HOSTILE_H
#define HOSTILE_H

/* A function that stays whole and keeps its name. */
#define NAMED __attribute__((noipa))

/* Computes for ever, with short pauses. */
NAMED void library_computes(void);
/* Waits for ever. */
NAMED void library_sleeps(void);

#endif
