{{- define "transporter-cp.testURL" -}}
{{- if .Values.tests.url }}{{ .Values.tests.url }}
{{- else if not (and .Values.security.enabled .Values.security.tlsByProxy) -}}
{{ ternary "https" "http" .Values.security.enabled }}://{{ include "transporter-cp.fullname" . }}.{{ .Release.Namespace }}.svc:{{ int .Values.service.httpsPort }}
{{- end }}
{{- end }}

{{- define "transporter-cp.testContainer" -}}
{{- $root := .root }}
- name: {{ .name }}
  image: {{ include "transporter-cp.image" (dict "image" $root.Values.image "tag" $root.Chart.AppVersion) | quote }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  securityContext:
    {{- toYaml $root.Values.securityContext | nindent 4 }}
  args:
    {{- toYaml .args | nindent 4 }}
  env:
    - name: HOME
      value: /tmp
    - name: POD_UID
      valueFrom:
        fieldRef:
          fieldPath: metadata.uid
    - name: TRANSPORTER_CP_URL
      value: {{ include "transporter-cp.testURL" $root | quote }}
    {{- if $root.Values.security.enabled }}
    - name: TRANSPORTER_TOKEN_FILE
      value: /etc/transporter/token/token
    {{- if or $root.Values.tests.ca.existingSecret (not $root.Values.tests.url) }}
    - name: TRANSPORTER_CA_FILE
      value: /etc/transporter/token/ca.crt
    {{- end }}
    {{- end }}
  resources:
    requests:
      cpu: 50m
      memory: 96Mi
    limits:
      memory: 256Mi
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: manifest
      mountPath: /etc/transporter/manifest
      readOnly: true
    {{- if $root.Values.security.enabled }}
    - name: token
      mountPath: /etc/transporter/token
      readOnly: true
    {{- end }}
{{- end }}
