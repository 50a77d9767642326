#!/bin/sh
# Sees to it that a Chromium or Chrome is there for the browser tests: installs Debian's or Ubuntu's package if this is root.
for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "No Chromium or Chrome found: installing the chromium package (about 100 MB to download)."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && exit 0
fi
cat >&2 <<'NOTE'
**********************************************************************************************
*  NO BROWSER: no Chromium or Chrome was found, so the BROWSER TESTS WILL FAIL, each saying so. *
*  Install one (Debian, Ubuntu: apt-get install chromium) and run make test again.             *
**********************************************************************************************
NOTE
