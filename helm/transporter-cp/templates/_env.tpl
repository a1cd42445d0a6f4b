{{/* Every secret as an environment variable from a Secret: of the user's where one is named, else of the chart's own. */}}

{{/* What lies in the Secret of the chart, for values that hold secrets: key to value. */}}
{{- define "transporter-cp.credentials" -}}
{{- $all := dict }}
{{- if and .Values.cp.redis.password (not .Values.cp.redis.existingSecret) (not (include "transporter-cp.ownRedis" .)) }}{{ $_ := set $all "redis-password" (include "transporter-cp.plain" .Values.cp.redis.password) }}{{ end }}
{{- if and .Values.cp.memphis.enabled (not .Values.cp.memphis.existingSecret) }}
  {{- with .Values.cp.memphis.password }}{{ $_ := set $all "memphis-password" (include "transporter-cp.plain" .) }}{{ end }}
  {{- with .Values.cp.memphis.connectionToken }}{{ $_ := set $all "memphis-connection-token" (include "transporter-cp.plain" .) }}{{ end }}
{{- end }}
{{- $all | toJson }}
{{- end }}

{{/*
Changes with a secret, and stands where whoever may look at pods sees it: by a slow function, and of this release alone, so that a weak password is not
simply looked up. Takes root and of.
*/}}
{{- define "transporter-cp.checksum" -}}
{{- derivePassword 1 "maximum" .of .root.Release.Name .root.Release.Namespace | sha256sum }}
{{- end }}

{{- define "transporter-cp.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}

{{- define "transporter-cp.env" -}}
{{- $own := printf "%s-credentials" (include "transporter-cp.fullname" .) }}
{{- $ours := include "transporter-cp.credentials" . | fromJson }}
- name: HOME
  value: /tmp
{{- if include "transporter-cp.ownCA" . }}
{{- /* Named here too, so that `kubectl exec … cp ca show|rotate` knows the place by itself. */}}
- name: TRANSPORTER_SECURITY_SECRET
  value: {{ printf "%s/%s" .Release.Namespace (include "transporter-cp.securitySecret" .) | quote }}
{{- end }}
{{- if eq (include "transporter-cp.storeType" .) "redis" }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- if and .Values.store.existingSecret (eq (include "transporter-cp.storeType" .) "redis") }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_STORE" "secret" .Values.store.existingSecret "key" .Values.store.existingSecretKey) }}
{{- end }}
{{- include "transporter-cp.redisEnv" . }}
{{- with .Values.cp.memphis }}
{{- if and .enabled .existingSecret .passwordKey }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_MEMPHIS_PASSWORD" "secret" .existingSecret "key" .passwordKey) }}
{{- end }}
{{- if and .enabled .existingSecret .tokenKey }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_MEMPHIS_CONNECTION_TOKEN" "secret" .existingSecret "key" .tokenKey) }}
{{- end }}
{{- end }}
{{- if hasKey $ours "memphis-password" }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_MEMPHIS_PASSWORD" "secret" $own "key" "memphis-password") }}
{{- end }}
{{- if hasKey $ours "memphis-connection-token" }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_MEMPHIS_CONNECTION_TOKEN" "secret" $own "key" "memphis-connection-token") }}
{{- end }}
{{- range $prefix, $from := dict "TRANSPORTER_QUEUE" .Values.queue "TRANSPORTER_PUBLISH" .Values.publish }}
{{- if and $from.existingSecret $from.passwordKey }}
{{ include "transporter-cp.secretEnv" (dict "name" (printf "%s_PASSWORD" $prefix) "secret" $from.existingSecret "key" $from.passwordKey) }}
{{- end }}
{{- if and $from.existingSecret $from.tokenKey }}
{{ include "transporter-cp.secretEnv" (dict "name" (printf "%s_TOKEN" $prefix) "secret" $from.existingSecret "key" $from.tokenKey) }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The password of the store's Redis; begins with a line of its own, or is nothing. */}}
{{- define "transporter-cp.redisEnv" -}}
{{- $ours := include "transporter-cp.credentials" . | fromJson }}
{{- if include "transporter-cp.ownRedis" . }}
{{- if .Values.redis.auth.enabled }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_REDIS_PASSWORD" "secret" (include "transporter-cp.redisSecret" .) "key" .Values.redis.auth.existingSecretPasswordKey) }}
{{- end }}
{{- else if eq (include "transporter-cp.storeType" .) "redis" }}
{{- if .Values.cp.redis.existingSecret }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_REDIS_PASSWORD" "secret" .Values.cp.redis.existingSecret "key" .Values.cp.redis.existingSecretPasswordKey) }}
{{- else if hasKey $ours "redis-password" }}
{{ include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_REDIS_PASSWORD" "secret" (printf "%s-credentials" (include "transporter-cp.fullname" .)) "key" "redis-password") }}
{{- end }}
{{- end }}
{{- end }}
