# Sourced by the other scripts: goes to the project's folder and prefers its .venv, where there is one.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ ! -d .venv/bin ] || PATH="$PWD/.venv/bin:$PATH"

# in_background LOG COMMAND...: run a command that outlives this shell, what it prints in the file LOG.
in_background() {
    local log=$1
    shift
    nohup "$@" > "$log" 2>&1 < /dev/null &
    echo "started in the background as process $!; what it prints, errors too, is in $PWD/$log (tail -f $log)"
}
