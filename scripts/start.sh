#!/bin/sh
# Starts the example that is named first, or hello, with the options that follow.
case ${1:--} in
  -*) set -- examples/hello --instances 4 "$@" ;;
esac
exec sh packages/supervisor/bin/paceline start "$@"
