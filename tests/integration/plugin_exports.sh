# Each built plugin exports its descriptor, `howdah_plugin`, and nothing else; and no plugin's source reaches
# into core/. Speaks TAP; looks into HD_BUILDDIR's plugins.d and HD_SRCDIR's plugins.

cd "${HD_BUILDDIR:-.}" || exit 1
plugins=$(find plugins.d -name '*.so' 2>/dev/null | sort)
echo "1..$(($(echo "$plugins" | grep -c .) + 1))"
n=0
status=0

report() { # report OK NAME
    n=$((n + 1))
    if [ "$1" = 1 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; status=1; fi
}

for so in $plugins; do
    exported=$(nm -D --defined-only "$so" | awk '{print $2, $3}')
    # A sanitizer adds symbols of its own; ours are all that count.
    ours=$(echo "$exported" | grep -v -E ' (__asan_|__odr_asan|__ubsan_|__tsan_|__sancov|__start_|__stop_)' || :)
    ok=0
    case $ours in "R howdah_plugin" | "D howdah_plugin" | "B howdah_plugin") ok=1 ;; esac
    [ $ok = 1 ] || echo "$exported" | sed 's/^/# /'
    report $ok "${so##*/} exports its descriptor alone"
done

reaching=$(grep -rnE '#[[:space:]]*include[[:space:]]*[<"](.*\.\./|core/|base/|io/|wire/|sql/|plug/|session/|host/)' \
    "${HD_SRCDIR:-.}/plugins" --include='*.[ch]' || :)
ok=1
if [ -n "$reaching" ]; then ok=0; echo "$reaching" | sed 's/^/# /'; fi
report $ok "no plugin includes anything of core"
exit $status
