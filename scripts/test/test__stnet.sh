#!/usr/bin/env bash
# The name that a document of the old zoo gives to test_stnet.sh.
exec bash "$(dirname "$0")/../model.sh" test STNET "$@"
