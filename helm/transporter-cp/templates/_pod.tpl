{{/* 0.1's listener; without security the API's own is open to everybody, them too. */}}
{{- define "transporter-cp.legacyOpen" -}}
{{- if and .Values.legacy.enabled .Values.security.enabled }}true{{ end }}
{{- end }}

{{- define "transporter-cp.several" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}true{{ end }}
{{- end }}

{{/* Where pods run. */}}
{{- define "transporter-cp.placement" -}}
{{- if .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else if include "transporter-cp.several" . }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "transporter-cp.selectorLabels" . | nindent 8 }}
    # Counts new pods among new ones, so that they are not spread around old ones that go.
    matchLabelKeys:
      - pod-template-hash
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" }}
{{- with index $.Values $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $field := list "priorityClassName" "runtimeClassName" "dnsPolicy" }}
{{- with index $.Values $field }}
{{ $field }}: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "transporter-cp.initContainers" -}}
{{- with .Values.extraInitContainers }}
{{ toYaml . }}
{{- end }}
{{- if .Values.migrate.from01.enabled }}
{{ include "transporter-cp.migrate" . }}
{{- end }}
{{- end }}

{{/*
Before the control plane rather than in a hook: by then 0.1 is stopped (Recreate), the volume is there, and nothing else has the store open.
It is repeated with every pod, which changes nothing; where the source is gone the pod says so and does not start.
*/}}
{{- define "transporter-cp.migrate" -}}
{{- $m := .Values.migrate.from01 }}
{{- $ownSource := ne $m.existingClaim "" }}
{{- if $ownSource }}
- name: redis-of-0-1
  image: {{ include "transporter-cp.image" (dict "image" .Values.redis.image) | quote }}
  imagePullPolicy: {{ .Values.redis.image.pullPolicy }}
  # A sidecar: it runs while the containers after it do.
  restartPolicy: Always
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  # A copy is read, so that what 0.1 left stays as it is.
  command:
    - sh
    - -ec
    - |
      cp -R /source/. /data/
      append=no
      if [ -d /data/appendonlydir ] || [ -f /data/appendonly.aof ]; then append=yes; fi
      server=$(command -v valkey-server || command -v redis-server)
      exec "$server" --bind 127.0.0.1 --port 6399 --dir /data --save "" --appendonly "$append" --protected-mode no
  startupProbe:
    exec:
      command:
        - sh
        - -ec
        - |
          cli=$(command -v valkey-cli || command -v redis-cli)
          test "$("$cli" -p 6399 ping)" = PONG
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 300
  volumeMounts:
    - name: redis-01
      mountPath: /source
      readOnly: true
    - name: redis-01-copy
      mountPath: /data
{{- end }}
- name: migrate-from-0-1
  image: {{ include "transporter-cp.image" (dict "image" .Values.image "tag" .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  args:
    - migrate
    - --from-0.1
    - --from
    {{- if $ownSource }}
    - redis://127.0.0.1:6399/{{ int $m.db }}
    {{- else }}
    {{- $source := $m.url | default (printf "redis://%s/%d" $m.addr (int $m.db)) }}
    {{- if $m.existingSecret }}
    - {{ printf "%s%spassword-file=/etc/transporter/redis-01/password" $source (ternary "&" "?" (contains "?" $source)) | quote }}
    {{- else }}
    - {{ $source | quote }}
    {{- end }}
    {{- end }}
    {{- with include "transporter-cp.storeURL" . }}
    - --store
    - {{ . | quote }}
    {{- end }}
  env:
    - name: HOME
      value: /tmp
    {{- if and .Values.store.existingSecret (eq (include "transporter-cp.storeType" .) "redis") }}
    {{- include "transporter-cp.secretEnv" (dict "name" "TRANSPORTER_STORE" "secret" .Values.store.existingSecret "key" .Values.store.existingSecretKey) | nindent 4 }}
    {{- end }}
    {{- include "transporter-cp.redisEnv" . | indent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    {{- include "transporter-cp.volumeMounts" . | nindent 4 }}
    {{- if and $m.existingSecret (not $ownSource) }}
    - name: redis-01-password
      mountPath: /etc/transporter/redis-01
      readOnly: true
    {{- end }}
{{- end }}
