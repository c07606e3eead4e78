{{/* What things are called, and the labels that find them. */}}

{{- define "keyferry.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}

{{- define "keyferry.app" -}}
{{ .Values.nameOverride | default "secrets-store-csi-driver" }}
{{- end -}}

{{- define "keyferry.kubeVersion" -}}
{{ .Values.kubeVersion | default .Capabilities.KubeVersion.Version }}
{{- end -}}

{{/* (list $ component): what a selector matches. It never changes for a release. */}}
{{- define "keyferry.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: keyferry
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* (list $ component): the labels of an object. */}}
{{- define "keyferry.labels" -}}
{{- $root := index . 0 -}}
{{ include "keyferry.selector" . }}
app.kubernetes.io/part-of: keyferry
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (list $ image): with a digest it is that and nothing else. */}}
{{- define "keyferry.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}
