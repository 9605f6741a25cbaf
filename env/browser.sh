#!/usr/bin/env bash
# The book tests open the built pages in Chromium. Find one, or install Debian's
# package where that is safe to do unasked: a CI machine (CI=true), root, apt-get.
# Anywhere else the tests that need a browser are skipped and say so.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then
    echo "browser: $(command -v "$name")"
    exit 0
  fi
done

if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "browser: no Chromium found, so the browser tests will be skipped." \
    "To run them: apt-get install chromium"
  exit 0
fi

echo "browser: installing Debian's chromium (about 100 MB, one minute) for the book tests"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && apt-get install -y --no-install-recommends chromium; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "browser: installing chromium failed (the last lines of apt-get are above)." \
    "Fix: run 'apt-get update && apt-get install chromium' and try again." >&2
  exit 1
fi
echo "browser: $(command -v chromium)"
