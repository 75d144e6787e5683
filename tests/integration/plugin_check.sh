# The conformance checker on every plugin of ours, on the vendor's template built by its own Makefile, and on plugins
# that are wrong in one way each. Speaks TAP.

cd "${HD_BUILDDIR:-.}" || exit 1
src=${HD_SRCDIR:-.}
check=$PWD/howdah-plugin-check
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0
n=0

report() { # report STATUS NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; status=1; fi
}

# passes PLUGIN.so [ARGUMENT…]
passes() {
    so=$1
    shift
    out=$("$check" "$@" "$so" 2>&1)
    code=$?
    [ $code = 0 ] || echo "$out" | sed 's/^/# /'
    report $code "${so##*/} passes the checker"
}

build() { # build FOLDER [SED EXPRESSION]
    rm -rf "${work:?}/$1"
    cp -r "$src/sdk/template" "$work/$1"
    chmod -R u+w "$work/$1"
    [ -z "${2-}" ] || sed -i "$2" "$work/$1/hello.c"
    make -s -C "$work/$1" CC="${CC:-cc}" HOWDAH_CFLAGS="-I$(cd "$src" && pwd)/sdk/include" >"$work/log" 2>&1 ||
        sed 's/^/# /' "$work/log"
}

# fails_with FOLDER TEXT: the checker finds this fault
fails_with() {
    out=$("$check" "$work/$1/hello.so" 2>&1)
    code=$?
    if [ $code = 1 ] && echo "$out" | grep -q -e "$2"; then code=0; else
        code=1
        echo "$out" | sed 's/^/# /'
    fi
    report $code "a plugin that is wrong ($1) is found out"
}

passes plugins.d/statements.so
passes plugins.d/guard.so
passes plugins.d/change-stream.so
passes plugins.d/cache-memory.so
passes plugins.d/cache-redis.so
passes plugins.d/bus-redis.so
passes plugins.d/alerts.so
passes plugins.d/alert-log.so
passes plugins.d/alert-webhook.so
passes plugins.d/alert-smtp.so
passes plugins.d/alert-exec.so
passes plugins.d/monitor.so

build template
passes "$work/template/hello.so" -c "$work/template/hello.ini"
make -s -C "$work/template" check PLUGIN_CHECK="$check" HOWDAH_CFLAGS=. >/dev/null 2>&1
report $? "the template's make check passes"

for name in alert-udp spool; do
    mkdir "$work/$name"
    cp "$src/sdk/template/Makefile" "$src/sdk/template/exports.map" "$src/sdk/examples/$name.c" "$work/$name"
    make -s -C "$work/$name" NAME=$name CC="${CC:-cc}" HOWDAH_CFLAGS="-I$(cd "$src" && pwd)/sdk/include" \
        >"$work/log" 2>&1 || sed 's/^/# /' "$work/log"
done
passes "$work/alert-udp/alert-udp.so"
printf '[plugin spool]\nenabled = yes\nfolder = /tmp\n' >"$work/spool/spool.ini"
passes "$work/spool/spool.so" -c "$work/spool/spool.ini"

build crash 's/^    reload(self, conf);$/    *(volatile int *)0 = 1;/'
fails_with crash "[sS][iI][gG][nN][aA][lL]" # or what a sanitizer says of it
build hang 's/^    reload(self, conf);$/    for (volatile int i = 0; !i;) {}/'
fails_with hang "it hangs"
build major 's/HD_PLUGIN_HEAD,/HD_PLUGIN_HEAD, .abi_major = 7,/'
fails_with major "ABI"
build name 's/\.id = "hello"/.id = "goodbye"/'
fails_with name "goodbye"
build wordless 's/"what SHOW HELLO says first"/""/'
fails_with wordless "option greeting has no line of documentation"
build early 's/^    \*out = self;$/    *out = self; dup(1);/; s/#include <stdio.h>/&\n#include <unistd.h>/'
fails_with early "it left descriptors open"
build stop '/^static int32_t stop/,/^}/s/HD_OK/HD_PENDING/'
fails_with stop "stopped() is due once"
echo "1..$n"
exit $status
