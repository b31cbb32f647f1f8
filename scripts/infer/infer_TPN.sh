#!/usr/bin/env bash
# Extra arguments are passed on and win, see scripts/model.sh.
exec bash "$(dirname "$0")/../model.sh" infer TPN "$@"
