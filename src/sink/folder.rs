//! Objects as YAML files in a folder: what `demo` writes, valid against the CRD. A file never lies outside the folder.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use tokio::{fs, io::AsyncWriteExt};

use super::{
    Objects,
    desk::Found,
    live::Sight,
    object::{ObjectId, Shown},
};
use crate::{
    decide::refusal::{About, Answer},
    remediation::{
        crd::{RemediationRequest, RemediationRequestStatus},
        fit,
    },
};

/// A folder of objects: `namespace/name.yaml`. One process writes to it at a time.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder; it is made if it is not there.
    pub async fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root).await?;
        Ok(Self { root: root.to_owned() })
    }

    /// What lies in it, as a watch would show it.
    pub async fn sights(&self) -> io::Result<Vec<Sight>> {
        let mut sights = vec![Sight::Begin];
        let mut namespaces = fs::read_dir(&self.root).await?;
        while let Some(namespace) = namespaces.next_entry().await? {
            if !namespace.file_type().await?.is_dir() {
                continue;
            }
            let mut files = fs::read_dir(namespace.path()).await?;
            while let Some(file) = files.next_entry().await? {
                let text = fs::read_to_string(file.path()).await?;
                let object = serde_saphyr::from_str::<Shown>(&text).ok().and_then(Shown::ours);
                sights.extend(object.map(|object| Sight::Stands(Box::new(object))));
            }
        }
        sights.push(Sight::Whole);
        Ok(sights)
    }

    /// Where an object lies. Names that are no DNS labels have no place, so nothing leads out of the folder.
    fn file(&self, namespace: &str, name: &str) -> Result<PathBuf, Answer> {
        if fit::is_namespace(namespace) && fit::is_namespace(name) {
            return Ok(self.root.join(namespace).join(format!("{name}.yaml")));
        }
        Err(Answer {
            code: 422,
            reason: "Invalid".into(),
            message: "namespace and name must be DNS labels".into(),
            ..Answer::default()
        })
    }

    async fn load(&self, id: &ObjectId) -> Result<(PathBuf, RemediationRequest), Answer> {
        let file = self.file(&id.namespace, &id.name)?;
        let text = fs::read_to_string(&file).await.map_err(|error| failed(&error))?;
        let object = serde_saphyr::from_str(&text).map_err(|error| Answer {
            code: 500,
            message: error.to_string(),
            ..Answer::default()
        })?;
        Ok((file, object))
    }
}

impl Objects for Folder {
    async fn create(&self, object: &RemediationRequest) -> Result<Found, Answer> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let file = self.file(namespace, object.metadata.name.as_deref().unwrap_or_default())?;
        fs::create_dir_all(self.root.join(namespace)).await.map_err(|error| failed(&error))?;
        let mut object = object.clone();
        object.metadata.resource_version = Some("1".to_owned());
        let mut opened = fs::File::create_new(&file).await.map_err(|error| failed(&error))?;
        let text = yaml(&object)?;
        opened.write_all(text.as_bytes()).await.map_err(|error| failed(&error))?;
        opened.flush().await.map_err(|error| failed(&error))?;
        shown(&text)
    }

    async fn apply_status(
        &self,
        id: &ObjectId,
        version: &str,
        status: &RemediationRequestStatus,
    ) -> Result<Found, Answer> {
        let (file, mut object) = self.load(id).await?;
        if object.metadata.resource_version.as_deref() != Some(version) {
            return Err(Answer { code: 409, reason: "Conflict".into(), ..Answer::default() });
        }
        let overall_phase = object.status.take().and_then(|status| status.overall_phase);
        object.status = Some(RemediationRequestStatus { overall_phase, ..status.clone() });
        let next = version.parse::<u64>().unwrap_or_default().saturating_add(1);
        object.metadata.resource_version = Some(next.to_string());
        let text = yaml(&object)?;
        let beside = file.with_extension("new");
        fs::write(&beside, &text).await.map_err(|error| failed(&error))?;
        fs::rename(&beside, &file).await.map_err(|error| failed(&error))?;
        shown(&text)
    }

    async fn read(&self, id: &ObjectId) -> Result<Found, Answer> {
        let (_, object) = self.load(id).await?;
        shown(&yaml(&object)?)
    }
}

fn yaml(object: &RemediationRequest) -> Result<String, Answer> {
    serde_saphyr::to_string(object).map_err(|error| Answer {
        code: 422,
        message: error.to_string(),
        ..Answer::default()
    })
}

fn shown(text: &str) -> Result<Found, Answer> {
    let shown: Shown = serde_saphyr::from_str(text).map_err(|error| Answer {
        code: 500,
        message: error.to_string(),
        ..Answer::default()
    })?;
    Ok(shown.ours().map_or(Found::Stranger, |object| Found::Ours(Box::new(object))))
}

/// A failure of the file system, in the API server's words.
fn failed(error: &io::Error) -> Answer {
    let (code, reason) = if error.kind() == ErrorKind::AlreadyExists {
        (409, "AlreadyExists")
    } else if error.kind() == ErrorKind::NotFound {
        (404, "NotFound")
    } else {
        (500, "InternalError")
    };
    Answer { code, reason: reason.to_owned(), message: error.to_string(), about: About::Object, ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{
        object::shape,
        specimen::{draft, seen, single},
    };

    fn object(namespace: &str, name: &str) -> RemediationRequest {
        let incident = single("a", 1);
        shape(&draft(&incident, seen(&incident, 1, 1), "a"), &ObjectId::new(namespace, name), None)
    }

    #[tokio::test]
    async fn q08_an_object_is_a_file_that_can_be_read_back_and_seen() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).await.unwrap();
        let id = ObjectId::new("shop", "a");
        folder.create(&object("shop", "a")).await.unwrap();
        assert_eq!(folder.create(&object("shop", "a")).await.unwrap_err().reason, "AlreadyExists");
        let status =
            RemediationRequestStatus { severity: Some("critical".to_owned()), ..RemediationRequestStatus::default() };
        folder.apply_status(&id, "1", &status).await.unwrap();
        assert_eq!(folder.apply_status(&id, "1", &status).await.unwrap_err().reason, "Conflict");
        let Found::Ours(read) = folder.read(&id).await.unwrap() else { panic!("ours") };
        assert_eq!((read.version.as_str(), read.status.severity.as_deref()), ("2", Some("critical")));
        assert_eq!(folder.read(&ObjectId::new("shop", "b")).await.unwrap_err().code, 404);
        let text = std::fs::read_to_string(place.path().join("shop/a.yaml")).unwrap();
        assert!(
            text.contains("kind: RemediationRequest") && text.contains("apiVersion: remediation.kubernaut.io/v1alpha1"),
            "{text}"
        );
        assert_eq!(folder.sights().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn o12_no_name_leads_out_of_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("out")).await.unwrap();
        for (namespace, name) in [("../../etc", "a"), ("shop", "../../a"), ("", "a"), ("..", "a")] {
            assert_eq!(folder.create(&object(namespace, name)).await.unwrap_err().code, 422);
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
