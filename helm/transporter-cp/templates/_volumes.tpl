{{/* Files of Secrets that the control plane reads: name of the volume, Secret, where, and which keys under which names (all when none are named). */}}
{{- define "transporter-cp.secretFiles" -}}
{{- $s := .Values.security }}
{{- $files := list }}
{{- if and $s.enabled (not (include "transporter-cp.ownCA" .)) }}
  {{- $files = append $files (dict "name" "tls" "secret" (include "transporter-cp.tlsSecret" .) "items" (dict "ca.crt" "ca.crt" "tls.crt" "tls.crt" "tls.key" "tls.key")) }}
  {{- if $s.existingSecretCAKey }}
    {{- $files = append $files (dict "name" "ca" "secret" $s.existingSecret "items" (dict $s.existingSecretCAKey "ca.key")) }}
  {{- else if and $s.certManager.enabled $s.certManager.ca }}
    {{- $files = append $files (dict "name" "ca" "secret" (printf "%s-ca" (include "transporter-cp.fullname" .)) "items" (dict "tls.key" "ca.key")) }}
  {{- end }}
{{- end }}
{{- if $s.enabled }}
  {{- with $s.admin.existingSecret }}{{ $files = append $files (dict "name" "admin" "secret" . "items" (dict $s.admin.key "token")) }}{{ end }}
  {{- with $s.clientCA.existingSecret }}{{ $files = append $files (dict "name" "client-ca" "secret" . "items" (dict $s.clientCA.key "ca.crt")) }}{{ end }}
  {{- with $s.crl.existingSecret }}{{ $files = append $files (dict "name" "crl" "secret" . "items" (dict $s.crl.key "crl.pem")) }}{{ end }}
  {{- with $s.oidc.ca.existingSecret }}{{ $files = append $files (dict "name" "oidc" "secret" . "items" (dict $s.oidc.ca.key "ca.crt")) }}{{ end }}
{{- end }}
{{- with .Values.queue.existingSecret }}{{ $files = append $files (dict "name" "queue" "secret" .) }}{{ end }}
{{- with .Values.publish.existingSecret }}{{ $files = append $files (dict "name" "publish" "secret" .) }}{{ end }}
{{- concat $files (include "transporter-cp.storeFiles" . | fromJsonArray) | toJson }}
{{- end }}

{{- define "transporter-cp.storeFiles" -}}
{{- $files := list }}
{{- if eq (include "transporter-cp.storeType" .) "redis" }}
  {{- with .Values.cp.redis.tls.existingSecret }}{{ $files = append $files (dict "name" "redis-tls" "secret" .) }}{{ end }}
  {{- with .Values.store.sentinelPassword }}
    {{- if .existingSecret }}{{ $files = append $files (dict "name" "sentinel" "secret" .existingSecret "items" (dict .key "password")) }}{{ end }}
  {{- end }}
{{- end }}
{{- $files | toJson }}
{{- end }}

{{- define "transporter-cp.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if include "transporter-cp.ownCA" . }}
# A copy of its Secret, for a container that starts again while the API server does not answer.
- name: security
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end }}
{{- if eq (include "transporter-cp.storeType" .) "sqlite" }}
- name: data
  {{- if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | default (include "transporter-cp.fullname" .) }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{- range include "transporter-cp.secretFiles" . | fromJsonArray }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    {{- if .items }}
    items:
      {{- range $key, $path := .items }}
      - key: {{ $key }}
        path: {{ $path }}
      {{- end }}
    {{- end }}
{{- end }}
{{- with .Values.migrate.from01 }}
{{- if and .enabled .existingClaim }}
- name: redis-01
  persistentVolumeClaim:
    claimName: {{ .existingClaim }}
- name: redis-01-copy
  emptyDir: {}
{{- else if and .enabled .existingSecret }}
- name: redis-01-password
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .existingSecretPasswordKey }}
        path: password
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "transporter-cp.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "transporter-cp.ownCA" . }}
- name: security
  mountPath: /run/transporter
{{- end }}
{{- if eq (include "transporter-cp.storeType" .) "sqlite" }}
- name: data
  mountPath: /var/lib/transporter
{{- end }}
{{- range include "transporter-cp.secretFiles" . | fromJsonArray }}
- name: {{ .name }}
  mountPath: /etc/transporter/{{ .name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
