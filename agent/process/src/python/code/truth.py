import dis, os, sys, sysconfig

random = 12345
stdlib = sysconfig.get_paths()["stdlib"]


def codes(code):
    yield code
    for const in code.co_consts:
        if hasattr(const, "co_code"):
            yield from codes(const)


def lines(code):
    """Yields pairs of an offset in bytes and its line, for every instruction."""
    size = len(code.co_code)
    if hasattr(code, "co_lines"):
        for start, end, line in code.co_lines():
            for offset in range(start, min(end, size), 2):
                yield offset, line
        return
    starts = dict(dis.findlinestarts(code))
    line = code.co_firstlineno
    for offset in range(0, size, 2):
        line = starts.get(offset, line)
        yield offset, line


for folder, folders, files in os.walk(stdlib):
    if "site-packages" in folder or "/test" in folder or "lib2to3" in folder:
        continue
    for name in sorted(files):
        # A part of the files, chosen the same each time, and some offsets of each code.
        random = (random * 1103515245 + 12345) & 0x7FFFFFFF
        if not name.endswith(".py") or random >> 16 & 1:
            continue
        try:
            with open(os.path.join(folder, name), "rb") as file:
                module = compile(file.read(), name, "exec")
        except (SyntaxError, ValueError):
            continue
        for code in codes(module):
            table = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
            some = list(lines(code))
            if len(some) > 16:
                some = some[random % 7 :: 7]
            truth = ",".join("%d:%s" % (o, "-" if l is None else l) for o, l in some)
            if truth:
                print(code.co_firstlineno, "x" + table.hex(), truth)
