{{/* What our promise needs of it: docs/redis.md says what each setting loses. */}}
{{- define "transporter-cp.redisConfig" -}}
{{- $r := .Values.redis -}}
port 6379
bind * -::*
dir /data
pidfile ""
appendonly yes
appendfsync {{ $r.appendfsync }}
save ""
maxmemory {{ include "transporter-cp.plain" $r.maxmemory }}
maxmemory-policy noeviction
tcp-keepalive 60
{{- with $r.extraConfig }}
{{ . }}
{{- end }}
{{- end }}

{{- define "transporter-cp.redisPing" -}}
exec:
  command:
    - sh
    - -ec
    - |
      {{- if .Values.redis.auth.enabled }}
      REDISCLI_AUTH=$(cat /etc/redis-password/password)
      export REDISCLI_AUTH
      {{- end }}
      test "$("$(command -v valkey-cli || command -v redis-cli)" ping)" = PONG
{{- end }}
