# Each public header compiles by itself, as C and as C++, without a warning and without padding in its structs; and
# all of them say extern "C". Speaks TAP; the compilers are CC and CXX, or what there is.

for cxx in ${CXX-} c++ clang++ clang++-14; do
    command -v "$cxx" >/dev/null && break
done

headers=$(cd "${HD_SRCDIR:-.}/sdk/include" && echo howdah/*.h)
include=${HD_SRCDIR:-.}/sdk/include
status=0
n=0

report() { # report STATUS NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; status=1; fi
}

compile() { # compile HEADER NAME COMPILER FLAG…
    header=$1
    name=$2
    shift 2
    out=$(echo "#include <$header>" | "$@" -Wall -Wextra -Wpadded -Werror -fsyntax-only -I"$include" - 2>&1)
    code=$?
    [ $code = 0 ] || echo "$out" | sed 's/^/# /'
    report $code "$header $name"
}

# shellcheck disable=SC2086 # one word each
set -- $headers
echo "1..$((3 * $#))"
for h; do
    compile "$h" "as C" "${CC:-cc}" -x c -std=c99
    compile "$h" "as C++" "$cxx" -x c++ -std=c++11
    if [ "$h" = howdah/howdah.h ] || grep -q 'extern "C"' "$include/$h"; then code=0; else code=1; fi
    report $code "$h has C linkage"
done
exit $status
