{{/* What the two Jobs that make certificates are told, and may do: the keys Job at each upgrade, the CronJob between. */}}

{{- define "keyferry.certificateArgs" -}}
{{- $name := include "keyferry.fullname" . -}}
- --namespace={{ .Release.Namespace }}
- --nats-host={{ $name }}-nats.{{ .Release.Namespace }}.svc
- --nats-host=*.{{ $name }}-nats-servers.{{ .Release.Namespace }}.svc
- --redis-host={{ $name }}-valkey.{{ .Release.Namespace }}.svc
{{- range $server := list "nats" "redis" }}{{/* where kubectl port-forward puts them */}}
{{- range $host := list "localhost" "127.0.0.1" }}
- --{{ $server }}-host={{ $host }}
{{- end }}
{{- end }}
{{- if .Values.nats.enabled }}
- --nats-workload=statefulsets/{{ $name }}-nats
{{- end }}
{{- if .Values.valkey.enabled }}
- --redis-workload=deployments/{{ $name }}-valkey
{{- end }}
{{- with dig "renewal" "since" "" .Values.keys }}{{/* --reuse-values of an older chart has no such value */}}
- --since={{ . }}
{{- end }}
{{- end -}}

{{- define "keyferry.certificateRules" -}}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [keyferry-authority, keyferry-nats-tls, keyferry-redis-tls]
  verbs: [get, update]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [keyferry-ca]
  verbs: [get, update]
{{- if .Values.nats.enabled }}
- apiGroups: [apps]
  resources: [statefulsets]
  resourceNames: [{{ include "keyferry.fullname" . }}-nats]
  verbs: [get, patch]
{{- end }}
{{- if .Values.valkey.enabled }}
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: [{{ include "keyferry.fullname" . }}-valkey]
  verbs: [get, patch]
{{- end }}
{{- end -}}
