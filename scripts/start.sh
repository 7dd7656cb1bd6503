#!/bin/sh
# Starts the example that is named first, or hello, with the options that follow; or what an option names.
case ${1:--} in
  --static | --fapws | --wsgi | --asgi) ;;
  -*) set -- examples/hello --instances 4 "$@" ;;
esac
exec sh packages/supervisor/bin/paceline start "$@"
