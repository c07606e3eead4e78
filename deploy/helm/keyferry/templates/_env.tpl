{{/* The settings of the services, as environment variables (docs/running.md). */}}

{{/* A map of settings. Whole numbers are floats to Helm, which writes large ones as 1e+06. */}}
{{- define "keyferry.settings" -}}
{{- range $variable, $value := . }}
- name: {{ $variable }}
  value: {{ if kindIs "float64" $value }}{{ printf "%.0f" $value | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end }}
{{- end -}}

{{/* Whether services prove themselves to NATS with what the keys Job has made. */}}
{{- define "keyferry.identified" -}}
{{- if or .Values.nats.enabled .Values.nats.identities }}true{{ end -}}
{{- end -}}

{{/* (list $ proof): where NATS is, and how we prove ourselves there: by KEYFERRY_NATS_NKEY_FILE or _TOKEN_FILE. */}}
{{- define "keyferry.nats" -}}
{{- $root := index . 0 -}}{{- $nats := $root.Values.nats -}}{{- $proof := index . 1 -}}
- name: KEYFERRY_NATS_URL
{{- if $nats.enabled }}
  value: tls://{{ include "keyferry.fullname" $root }}-nats.{{ $root.Release.Namespace }}.svc:{{ $nats.port }}
{{- else if $nats.existingSecret }}
  valueFrom:
    secretKeyRef: {name: {{ $nats.existingSecret }}, key: {{ $nats.existingSecretKey }}}
{{- else }}
  value: {{ required "nats.url: say where your NATS is, or set nats.existingSecret or nats.enabled" $nats.url | quote }}
{{- end }}
{{- if $nats.enabled }}
- name: KEYFERRY_NATS_CA_FILE
  value: /etc/keyferry/identity/ca.crt
{{- else if $nats.caConfigMap }}
- name: KEYFERRY_NATS_CA_FILE
  value: /etc/keyferry/nats/ca.crt
{{- end }}
{{- if include "keyferry.identified" $root }}
- name: {{ $proof }}
  value: /etc/keyferry/identity/{{ ternary "token" "nats.nk" (eq $proof "KEYFERRY_NATS_TOKEN_FILE") }}
{{- end }}
{{- if $root.Values.allowPlaintext }}
- name: KEYFERRY_ALLOW_PLAINTEXT
  value: "true"
{{- end }}
{{- end -}}

{{/* (list $ address proof): what every service is told. */}}
{{- define "keyferry.env" -}}
{{- $root := index . 0 -}}
{{ include "keyferry.nats" (list $root (index . 2)) }}
- name: KEYFERRY_LOG_LEVEL
  value: {{ $root.Values.logLevel }}
- name: KEYFERRY_HTTP_ADDRESS
  value: {{ index . 1 | quote }}
{{- include "keyferry.settings" $root.Values.telemetry.settings }}
{{- end -}}

{{/* (list $ service): each has a user of its own in our Valkey. */}}
{{- define "keyferry.redis" -}}
{{- $redis := (index . 0).Values.redis -}}
- name: KEYFERRY_REDIS_URL
  valueFrom:
    secretKeyRef:
      {{- if (index . 0).Values.valkey.enabled }}
      name: keyferry-{{ index . 1 }}-identity
      key: redis-url
      {{- else }}
      name: {{ required "redis.existingSecret: name the Secret that holds the URL of your Redis, or set valkey.enabled" $redis.existingSecret }}
      key: {{ $redis.existingSecretKey }}
      {{- end }}
{{- if (index . 0).Values.valkey.enabled }}
- name: KEYFERRY_REDIS_CA_FILE
  value: /etc/keyferry/identity/ca.crt
{{- else if $redis.caConfigMap }}
- name: KEYFERRY_REDIS_CA_FILE
  value: /etc/keyferry/redis/ca.crt
{{- end }}
{{- if and $redis.anyVersion (not (index . 0).Values.valkey.enabled) }}
- name: KEYFERRY_REDIS_ANY_VERSION
  value: "true"
{{- end }}
{{- end -}}

{{- define "keyferry.rotationInterval" -}}
{{ ternary .Values.rotationPollInterval "off" .Values.enableSecretRotation }}
{{- end -}}
