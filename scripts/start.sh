#!/bin/sh
# Starts the example named by the first argument (default: hello) with the options that follow, or runs what an option names.
case ${1:--} in
  --static | --fapws | --wsgi | --asgi) ;;
  -*) set -- examples/hello --instances 4 "$@" ;;
esac
exec sh packages/supervisor/bin/paceline start "$@"
