#!/bin/sh
# Sees to it that a Chromium or Chrome is there for the browser tests: installs Debian's or Ubuntu's package if this is root.
# Ends with 1 if there is none. With --say it only says, loudly, what was not run.
if [ "$1" = --say ]; then
    cat >&2 <<'NOTE'
************************************************************************************************
*  THE BROWSER TESTS WERE NOT RUN: no Chromium or Chrome was found on this machine.            *
*  Install one (Debian, Ubuntu: apt-get install chromium) and run make test again.             *
************************************************************************************************
NOTE
    exit 0
fi
for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
[ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "No Chromium or Chrome found: installing the chromium package (about 100 MB to download)."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && exit 0
fi
exit 1
