{{/* What the pods have in common. */}}

{{/* A container that needs no rights: Pod Security Standard "restricted". */}}
{{- define "keyferry.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The same for the pod; the group is what lets it read its Secrets, which are 0440. */}}
{{- define "keyferry.unprivileged" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "keyferry.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 6
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{/* (list $ component values): where its pods go: onto different nodes and zones where that is possible. */}}
{{- define "keyferry.scheduling" -}}
{{- $values := index . 2 -}}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "keyferry.selector" $ | nindent 8 }}
{{- end }}
{{- include "keyferry.placement" $values }}
{{- end -}}

{{- define "keyferry.placement" -}}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* (list $ component values): metadata of a pod. */}}
{{- define "keyferry.podMetadata" -}}
{{- $values := index . 2 -}}
labels:
  {{- include "keyferry.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "keyferry.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A folder with the public keys and the private ones of a service. */}}
{{- define "keyferry.keysVolume" -}}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      - configMap: {name: keyferry-public-keys}
      - secret: {name: keyferry-{{ . }}-keys}
{{- end -}}
