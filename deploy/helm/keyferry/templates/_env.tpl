{{/* The settings of the services, as environment variables (docs/running.md). */}}

{{/* A map of settings. Whole numbers are floats to Helm, which writes large ones as 1e+06. */}}
{{- define "keyferry.settings" -}}
{{- range $variable, $value := . }}
- name: {{ $variable }}
  value: {{ if kindIs "float64" $value }}{{ printf "%.0f" $value | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end }}
{{- end -}}

{{- define "keyferry.nats" -}}
- name: KEYFERRY_NATS_URL
{{- if .Values.nats.enabled }}
  value: nats://{{ include "keyferry.fullname" . }}-nats.{{ .Release.Namespace }}.svc:{{ .Values.nats.port }}
{{- else if .Values.nats.existingSecret }}
  valueFrom:
    secretKeyRef: {name: {{ .Values.nats.existingSecret }}, key: {{ .Values.nats.existingSecretKey }}}
{{- else }}
  value: {{ required "nats.url: say where your NATS is, or set nats.existingSecret or nats.enabled" .Values.nats.url | quote }}
{{- end }}
{{- end -}}

{{/* (list $ address): what every service is told. */}}
{{- define "keyferry.env" -}}
{{- $root := index . 0 -}}
{{ include "keyferry.nats" $root }}
- name: KEYFERRY_LOG_LEVEL
  value: {{ $root.Values.logLevel }}
- name: KEYFERRY_HTTP_ADDRESS
  value: {{ index . 1 | quote }}
{{- include "keyferry.settings" $root.Values.telemetry.settings }}
{{- end -}}

{{- define "keyferry.redis" -}}
- name: KEYFERRY_REDIS_URL
  valueFrom:
    secretKeyRef:
      {{- include "keyferry.redisSecret" . | nindent 6 }}
{{- end -}}

{{- define "keyferry.rotationInterval" -}}
{{ ternary .Values.rotationPollInterval "off" .Values.enableSecretRotation }}
{{- end -}}
